"""Hand a trained model over: a folder that plain sentence-transformers loads, with its codec, its card and an example."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import Spec, parse_spec
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image import IMAGE
from tempembed.encoders.load import load_encoder
from tempembed.evaluation.report import Report, read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.export.card import model_card
from tempembed.export.example import example_code, picture_example
from tempembed.export.provenance import Provenance
from tempembed.index.exported import CODEC, check_width
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place

CARD, EXAMPLE = "README.md", "example.py"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model to export, with what is known of it."""

    model: Path
    """A folder that sentence-transformers loads."""
    provenance: Provenance
    report: Report | None = None
    """What was measured of it (`tempembed.evaluation.report_files.write_report`)."""
    codec: Path | None = None
    """The codec, fitted on its embeddings; None: it is fitted here."""

    @staticmethod
    def of_folder(folder: Path, provenance: Provenance) -> "Source":
        """A model with evaluation.json and, maybe, codec/ beside its files."""
        codec = folder / CODEC
        return Source(
            model=folder, provenance=provenance, report=report_beside(folder),
            codec=codec if codec.is_dir() else None,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FitOn:
    """Documents that a codec learns from."""

    texts: Sequence[str]
    what: str = "documents of that data"
    """How the card calls them."""


def report_beside(model: Path) -> Report | None:
    """The report of a run's folder, or None where there is none.

    Raises:
        UserError: a file that is something else.
    """
    return read_report(model / REPORT) if (model / REPORT).exists() else None


def export(
    source: Source, output: Path, documents: Callable[[], FitOn] | None, say: Say = lambda _: None
) -> Path:
    """Write model, codec/, README.md and example.py; the folder appears whole or not at all.

    A prefix is cut by sentence-transformers itself (`truncate_dim` in its configuration). Its encode_query and
    encode_document have the prompts that it was trained and measured with.

    Args:
        source: the model and what is known of it.
        output: a new or empty folder.
        documents: called if the codec must be fitted and learns something; None: there are none.
        say: takes lines of progress.

    Raises:
        UserError: the folder holds something, the codec does not fit the model, or it learns and there are no documents.
    """
    check_target(output)
    output = output.resolve()
    encoder = load_encoder(str(source.model))
    spec = parse_spec(source.provenance.codec, encoder.width)
    codec, fitted_on = _codec(source, spec, encoder, documents, say)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{uuid4().hex[:8]}")
    partial.mkdir()
    try:
        _save_model(encoder, spec, partial)
        if source.codec:
            shutil.copytree(source.codec, partial / CODEC)
        else:
            codec.save(partial / CODEC)
        code = picture_example(spec) if IMAGE in encoder.modalities else example_code(spec, encoder.width)
        (partial / EXAMPLE).write_text(code, encoding="utf-8")
        card = model_card(source.provenance, spec, encoder, source.report, code, fitted_on)
        (partial / CARD).write_text(card, encoding="utf-8")
        for path in partial.rglob("*"):  # safetensors writes files that only their owner reads
            if path.is_file():
                path.chmod(partial.stat().st_mode & 0o666)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output


def check_target(output: Path) -> None:
    """Raise UserError unless it is a new or an empty folder."""
    check_place(output, "--output")
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists():
        raise UserError(
            f"--output {output}: expected a new or empty folder, found something there; choose another"
        )


def _codec(
    source: Source, spec: Spec, encoder: Encoder, documents: Callable[[], FitOn] | None, say: Say
) -> tuple[Codec, str]:
    """The fitted codec, and what it was fitted on (empty if it does not learn)."""
    if source.codec:
        codec = Codec.load(source.codec)
        check_width(codec, encoder.width, str(source.model))
        if codec.spec != spec:
            raise UserError(
                f"codec {source.codec}: expected {spec}, got {codec.spec}; take the codec of this model"
            )
        return codec, FitOn(texts=()).what if spec.learns else ""
    if not spec.learns:
        return Codec.fit(spec, torch.zeros(1, encoder.width)), ""
    if documents is None:
        raise UserError(f"codec {spec}: expected documents to fit it on, got none; name them with --data")
    fit_on = documents()
    say(f"fitting {spec} on {len(fit_on.texts):,} documents")
    return Codec.fit(spec, _documents(encoder, fit_on.texts)), fit_on.what


def _documents(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    return encoder.embed(encoder.prepare(texts, encoder.role("document")))


def _save_model(encoder: Encoder, spec: Spec, folder: Path) -> None:
    if IMAGE in encoder.modalities:
        encoder.save(folder)  # a cut is the codec's
        return
    model = encoder.sentence_transformer()
    model.similarity_fn_name = "cosine"
    cut = spec.width if spec.method == "prefix" and spec.width < encoder.width else None
    with model.truncate_embeddings(cut):
        model.save(str(folder), create_model_card=False)
