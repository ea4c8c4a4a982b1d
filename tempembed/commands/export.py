"""`tempembed export`."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tempembed.settings.data import several
from tempembed.settings.train import TrainSettings
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.untrusted import read_json

if TYPE_CHECKING:
    from tempembed.evaluation.report import Report
    from tempembed.export.export import FitOn, Source


@dataclass(frozen=True, kw_only=True)
class Export:
    """Hand a model over as a folder that plain sentence-transformers loads, with its codec, a model card and an example.

    Writes model files, codec/ (tempembed.codecs.codec.Codec.load), README.md and example.py. A prefix is cut by
    sentence-transformers itself; example.py needs tempembed only for codecs that sentence-transformers does not have.

    Example: tempembed export --alias bytes-128 --output model-128

    Then: tempembed search model-128 "how to parse a date" --texts notes.txt --index notes.index

    Without a registry: tempembed codecs runs/one --bytes 128 --output codecs, then tempembed export --model runs/one
    --codec codecs --output model-128

    Vectors into an engine: tempembed encode model-128 --data corpus/ --output encoded, then tempembed export --engine pgvector
    --vectors encoded --output engine
    """

    output: str
    """A new or empty folder."""
    alias: str | None = None
    """From the registry: full, bytes-512, bytes-128 or bytes-32, the best version for that budget."""
    version: str | None = None
    """From the registry: this version of the registered model."""
    name: str | None = None
    """The registered model; needed where there are several."""
    mlflow_uri: str | None = None
    """MLflow's tracking server or database; default: MLFLOW_TRACKING_URI, or the database that `make demo` left."""
    model: str | None = None
    """Instead of the registry: the folder of a trained model."""
    codec: str | None = None
    """With --model: a codec such as pca:128+int8, or the folder that tempembed codecs wrote."""
    data: tuple[str, ...] = ()
    """Documents for a codec that is fitted here: sources as in tempembed evaluate; default: the model's own test data."""
    engine: str | None = None
    """Instead of a model: what loads the vectors of --vectors into this engine, scripts, settings and schema: faiss, usearch, sqlite-vec,
    lancedb, qdrant, milvus, pgvector, elasticsearch or opensearch."""
    vectors: str | None = None
    """With --engine: the folder that tempembed encode wrote."""
    storage: str | None = None
    """With --engine: how it is to hold the vectors, as a number codec; default: as they are."""
    table: str = "documents"
    """With --engine: name of the table, collection or index."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", several(self.data))


def export_command(command: Export) -> None:
    """`tempembed export`."""
    from tempembed.export.export import check_target, export

    if command.engine or command.vectors:
        _engine(command)
        return
    if sum(value is not None for value in (command.alias, command.version, command.model)) != 1:
        raise UserError("export: expected exactly one of --alias, --version, --model and --engine")
    if command.alias is not None:
        check_name(command.alias, "--alias")
    output = Path(command.output)
    check_target(output)
    with tempfile.TemporaryDirectory() as scratch:
        source = _local(command) if command.model else _registered(command, Path(scratch))
        if command.data and source.codec:
            raise UserError("export: the codec is fitted already; leave --data out")
        export(source, output, _documents(command.data, source), say)
    say(f"model, codec, card and example: {output}")


def _engine(command: Export) -> None:
    """What loads vectors into an engine."""
    from tempembed.engines.builtin import find_engine
    from tempembed.engines.export import export_engine
    from tempembed.export.export import check_target
    from tempembed.index.shards import Encoded

    if not command.engine or not command.vectors or command.model or command.alias or command.version:
        raise UserError(
            "export: expected --engine with --vectors, the folder of tempembed encode, and without a model; give both"
        )
    engine, output = find_engine(command.engine), Path(command.output)
    check_target(output)
    storage, _, argument = (command.storage or "").partition(":")
    if argument and not argument.isdigit():
        raise UserError(f"--storage {command.storage}: expected a name, or name:number, such as rabitq:4")
    encoded = Encoded.open(Path(command.vectors))
    predicted = export_engine(
        engine, encoded, output, storage=storage or None, argument=int(argument or 0), name=command.table
    )
    say(f"{encoded.num_rows:,} vectors for {engine.title}, whose scores are those of {predicted}")
    say(f"then: cd {output} && pip install -r requirements.txt && python load.py")


def _registered(command: Export, folder: Path) -> "Source":
    if command.codec is not None:
        raise UserError("export: a registered version has a codec of its own; leave --codec out")
    from tempembed.export.export import Source
    from tempembed.tracking.registry import fetch_version

    where = (command.mlflow_uri, command.name, command.alias, command.version)
    return Source.of_folder(folder, fetch_version(*where, folder))


def _local(command: Export) -> "Source":
    from tempembed.codecs.codec import Codec
    from tempembed.encoders.load import load_encoder
    from tempembed.evaluation.report import read_report
    from tempembed.export.export import Source, report_beside
    from tempembed.export.provenance import Provenance
    from tempembed.index.exported import CODEC

    if command.name is not None or command.mlflow_uri is not None:
        raise UserError(
            "export: --name and --mlflow-uri belong to the registry, not to --model; leave them out"
        )
    if not command.codec:
        raise UserError(
            "export: --model needs --codec, such as pca:128+int8; tempembed codecs recommends one"
        )
    folder, codec, fitted = Path(str(command.model)), command.codec, None
    report = report_beside(folder)
    if Path(codec).is_dir():  # of tempembed codecs: it measured more than the run did
        fitted = Path(codec) / CODEC
        if (beside := Path(codec) / "report.json").exists():
            report = read_report(beside)
        codec = str(Codec.load(fitted).spec)
        if report and Path(report.model).name != folder.resolve().name:
            raise UserError(f"--codec {command.codec}: expected that of {folder}, got that of {report.model}")
        if report:
            _check_codec(command.codec, folder, report, codec)
    provenance = Provenance(codec=codec)
    if settings := _settings(folder):
        provenance = Provenance.of_settings(settings, load_encoder(str(folder)).width, codec)
        if fitted:  # measured on what tempembed codecs was given
            provenance = replace(provenance, test_data="")
    return Source(model=folder, provenance=provenance, report=report, codec=fitted)


def _check_codec(given: str, folder: Path, report: "Report", codec: str) -> None:
    """Raise UserError unless the codec was fitted on this model's embeddings; reports of earlier versions tell by the name only."""
    from tempembed.encoders.load import load_encoder

    if report.codec not in (None, codec):
        raise UserError(
            f"--codec {given}: expected the codec of its report, {report.codec}, got {codec}; run tempembed codecs again"
        )
    if report.model_fingerprint:
        found = load_encoder(str(folder)).fingerprint()
        if found != report.model_fingerprint:
            raise UserError(
                f"--codec {given}: expected one that was fitted on {folder}, got one of another model of that name; run tempembed "
                "codecs on this one"
            )


def _settings(folder: Path) -> TrainSettings | None:
    """Settings of the run that trained the model, if it was one of ours."""
    path = folder / "settings.json"
    if not path.exists():
        return None
    try:
        return TrainSettings.from_dict(read_json(path))
    except UserError as error:
        raise UserError(f"{path}: expected the settings of a run ({error}); mend it or remove it") from error


def _documents(data: Sequence[str], source: "Source") -> "Callable[[], FitOn] | None":
    """The documents to fit on: those that the codec was measured on, unless others are named."""
    from tempembed.evaluation.retrieval import Retrieval
    from tempembed.export.export import FitOn
    from tempembed.stages.prepare import evaluation_task, prepare

    if data:
        return lambda: FitOn(
            texts=evaluation_task(data, flag="--data", say=say).documents,
            what=f"documents of {', '.join(data)}",
        )
    settings = _settings(source.model)
    if settings is None:
        return None
    named = settings.data.test

    def own() -> FitOn:
        if named:
            corpus = evaluation_task(
                named, skip_bad_rows=settings.data.skip_bad_rows, min_score=settings.data.min_score, say=say
            )
        elif test := prepare(settings, say).evaluation():
            corpus = test[0]
        else:
            raise UserError(
                "export: the run had no test data to fit the codec on; name documents with --data"
            )
        known = source.report.data.tasks.get("retrieval") if source.report else None
        if not known or known.fingerprint == Retrieval.of_corpus(corpus).fingerprint:
            return FitOn(texts=corpus.documents)
        changed = "the test data as it is now; it has changed since the model was measured"
        say(f"the codec is fitted on {changed}")
        return FitOn(texts=corpus.documents, what=changed)

    return own
