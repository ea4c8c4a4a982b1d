"""`tempembed encode`."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tempembed.commands.local_processes import LocalProcesses
from tempembed.encoders.role import RoleName
from tempembed.settings.config import Configured
from tempembed.settings.data import several
from tempembed.settings.flat import Positive, check_ranges
from tempembed.settings.places import located, output_place
from tempembed.system.console import Progress, say
from tempembed.system.errors import UserError
from tempembed.system.in_order import Over
from tempembed.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from tempembed.codecs.codec import Codec
    from tempembed.data.documents import Corpus
    from tempembed.encoders.encoder import Encoder
    from tempembed.index.encode import Embedding
    from tempembed.index.shards import Encoded
    from tempembed.tracking.tracker import TrackedDataset

Report = Callable[[dict[str, Any]], None]
SAMPLE_TEXTS = 1024
"""Texts of a codec's sample that a process takes at a time."""


@dataclass(frozen=True, kw_only=True)
class EncodeRun(Configured):
    """What is encoded, how, and where to."""

    model: Annotated[str, tyro.conf.Positional]
    """A folder that tempembed export wrote, which brings its codec, or any sentence-transformers or transformers model."""
    data: tuple[str, ...]
    """Documents: files, folders or globs of Parquet, JSON Lines, CSV or .txt (one a line), each file packed or not; also s3://, gs://
    and hf://, which are copied to the cache first."""
    output: str
    """Folder for the shards. The same command again goes on where it ended."""
    codec: str | None = None
    """A codec such as pca:128+int8 or binary+rerank:unbiased:100, or the folder that tempembed codecs wrote; default: the model's own."""
    column: str | None = None
    """Column of the texts; default: text or document."""
    id_column: str | None = None
    """Column of the ids, which must be unique; default: id, _id or doc_id, and where there is none, the document's number."""
    role: RoleName = "document"
    """Which role's prompt the texts get."""
    prompt: str | None = None
    """Put before each text, in place of the role's own."""
    shard_rows: Annotated[int, Positive] = 16_384
    """Documents of a shard: what a process takes at a time, and loses when it is killed."""
    fit_rows: Annotated[int, Positive] = 16_384
    """Documents, evenly spread, that a codec which learns is fitted on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", several(self.data))
        check_ranges(self)

    @property
    def what(self) -> str:
        """What the texts are, for lines of progress."""
        return "documents"

    def documents(self) -> "Corpus":
        """What is encoded."""
        from tempembed.data.documents import Documents

        return Documents.of(self.data, self.column, self.id_column)

    def embedding(self, device: str) -> "Embedding":
        """How texts become embeddings on a device."""
        from tempembed.index.encode import Embedding

        return Embedding(model=located(self.model), role=self.role, prompt=self.prompt, device=device)

    def introduce(self, encoder: "Encoder", say: Callable[[str], None]) -> None:
        """Say what a user should know of the model."""
        for line in encoder.introduction():
            say(f"{self.model}: {line}")


@dataclass(frozen=True, kw_only=True)
class Encode(LocalProcesses, EncodeRun):
    """Encode a corpus: a model and a codec over any number of documents, into shards of (id, code, scale ...).

    All cores work, each on a shard of its own; texts of like length go together, without padding. Every document comes exactly once.
    What is wrong with the data is found before the work begins. Killed or interrupted, the same command goes on from the shards that are
    finished. ray_jobs.encode does the same on a cluster, with the same bytes.

    Example: tempembed encode model-128 --data corpus/ --output encoded

    Another model: tempembed encode all-MiniLM-L6-v2 --data corpus/*.parquet --codec pca:128+int8 --output encoded

    Then: tempembed export --engine pgvector --vectors encoded --output engine

    Writes encode.json (what was encoded), codec/ (tempembed.codecs.codec.Codec.load), and shards/: 000000.parquet with id and code,
    the same codes as 000000.code.npy, and, last, manifest.json with the sha256 of each.
    """

    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    quiet: bool = False
    """Say nothing of the progress."""

    def __post_init__(self) -> None:
        EncodeRun.__post_init__(self)
        LocalProcesses.__post_init__(self)


def encode_command(command: Encode) -> None:
    """`tempembed encode`."""
    encoded = encode_here(command)
    print(encoded)


def encode_here(command: Encode) -> "Encoded":
    """Encode on this machine.

    Raises:
        UserError: bad data, a model or codec that cannot be, a folder of another encode, or a full disk.
    """
    from tempembed.run.folder import hold
    from tempembed.system.disk import blamed_on_disk
    from tempembed.system.in_order import in_order

    output, tracking = output_place("--output", command.output), command.tracking.resolved()
    device = command.found_device()
    with hold(output, "encode"), blamed_on_disk(output):
        return encode(command, output, device, partial(in_order, over=command.num_on(device)), tracking, say)


def encode(
    command: EncodeRun,
    output: Path,
    device: str,
    over: Over,
    tracking: TrackingSettings,
    say: Callable[[str], None],
    report: Report = lambda _: None,
) -> "Encoded":
    """Encode all documents, over any processes.

    Args:
        command: what is encoded.
        output: its folder, held.
        device: of the processes, cpu or cuda.
        over: calls a function in the processes.
        tracking: resolved.
        say: takes lines of progress.
        report: takes metrics, after each shard.
    """
    from tempembed.index.encode import Part, encode_part
    from tempembed.index.shards import SHARDS
    from tempembed.system.checksums import MANIFEST
    from tempembed.tracking.tracked import tracked

    documents, embedding = command.documents(), command.embedding(device)
    encoded, embedding = _begun(command, output, documents, embedding, over, say)
    done = {number for number in range(encoded.num_shards) if encoded.is_done(number)}
    left = sum(encoded.rows_of(number) for number in range(encoded.num_shards) if number not in done)
    finished = output / SHARDS / MANIFEST
    if done or finished.exists():
        say(
            f"going on: {len(done):,} of {encoded.num_shards:,} shards are there, {left:,} {command.what} are left"
        )

    def parts() -> Iterator[Part]:
        for number, table in enumerate(documents.shards(command.shard_rows)):
            if number not in done:
                yield Part(embedding=embedding, number=number, documents=table, encoded=encoded)

    settings = {**encoded.facts, "output": str(output)}
    progress, began, rows = Progress("encoded", command.what, left, say), time.monotonic(), 0
    with tracked(output, settings, [_dataset(command, encoded)], tracking, say, {}, finished) as trackers:
        for _, written in over(encode_part, parts()):
            rows += written.num_rows
            done.add(written.number)
            progress.add(written.num_rows)
            rate = rows / (time.monotonic() - began)
            metrics = {
                "step": len(done), "num_steps": encoded.num_shards, "encode/documents": encoded.num_rows - left + rows,
                "encode/documents_per_second": rate, "encode/seconds_left": (left - rows) / rate,
            }  # fmt: skip
            report(metrics)
            for tracker in trackers:
                tracker.log("", metrics)
        if rows != left:
            raise UserError(
                f"--data: expected the {encoded.num_rows:,} documents that were checked, got {rows - left:+,} of them: the files changed "
                "meanwhile; give the same command again, with another --output"
            )
        encoded.finish()
    return encoded


def _begun(
    command: EncodeRun, output: Path, documents: "Corpus", embedding: "Embedding", over: Over,
    say: Callable[[str], None],
) -> "tuple[Encoded, Embedding]":  # fmt: skip
    """The encode that is there, or a new one with its codec fitted, and the model by its fingerprint; refused before any work where
    it is another one.
    """
    from tempembed.index.shards import FORMAT, Encoded, begin, check_codec, refuse_other

    there = Encoded.there(output)
    encoder, role = embedding.load()
    command.introduce(encoder, say)
    embedding = replace(embedding, fingerprint=encoder.fingerprint())
    facts: dict[str, Any] = {
        "format": FORMAT, "model_fingerprint": embedding.fingerprint, "role": f"{role.name} {role.prompt!r} {role.max_tokens}",
        "shard_rows": command.shard_rows,
    }  # fmt: skip
    codec, given = _codec(command, encoder)
    facts |= given
    if there:
        refuse_other(there, facts)
    surveyed = documents.survey(say)
    facts |= {"documents_fingerprint": surveyed.fingerprint, "num_rows": surveyed.num_rows}
    if there:
        return begin(output, facts, there.codec()), embedding
    if codec is None:
        codec = _fitted(given["codec"], command, documents, surveyed.num_rows, embedding, over, say)
    check_codec(codec, encoder.width, command.model)
    facts |= {
        "model": command.model,
        "data": list(command.data),
        "codec": str(codec.spec),
        "coordinates": encoder.width,
    }
    return begin(output, facts, codec), embedding


def _codec(command: EncodeRun, encoder: "Encoder") -> "tuple[Codec | None, Mapping[str, Any]]":
    """The codec, None where it must be fitted first; and what is known of it."""
    import torch

    from tempembed.codecs.codec import Codec
    from tempembed.codecs.spec import parse_spec
    from tempembed.index.exported import CODEC, codec_fingerprint
    from tempembed.index.shards import check_codec

    own = Path(command.model) / CODEC
    if command.codec is None and not own.is_dir():
        raise UserError(
            f"encode: expected --codec, or a model that tempembed export wrote, got {command.model} without a codec; tempembed codecs "
            "recommends one"
        )
    place = own if command.codec is None else Path(command.codec)
    if place.is_dir():
        place = place / CODEC if (place / CODEC).is_dir() else place
        codec = Codec.load(place)
        check_codec(codec, encoder.width, command.model)
        return codec, {"codec": str(codec.spec), "codec_fingerprint": codec_fingerprint(place)}
    spec = parse_spec(str(command.codec), encoder.width)
    fitted = None if spec.learns else Codec.fit(spec, torch.ones(2, encoder.width))
    return fitted, {"codec": str(spec)}


def _fitted(
    text: str, command: EncodeRun, documents: "Corpus", num_rows: int, embedding: "Embedding", over: Over,
    say: Callable[[str], None],
) -> "Codec":  # fmt: skip
    import torch

    from tempembed.codecs.codec import Codec
    from tempembed.codecs.spec import parse_spec
    from tempembed.index.encode import Sample, embed_sample

    texts = documents.sample(command.fit_rows, num_rows)
    say(f"fitting {text} on {len(texts):,} documents")
    samples = (
        Sample(embedding=embedding, number=number, texts=texts[low : low + SAMPLE_TEXTS])
        for number, low in enumerate(range(0, len(texts), SAMPLE_TEXTS))
    )
    found = {sample.number: rows for sample, rows in over(embed_sample, samples)}
    embeddings = torch.cat([found[number] for number in sorted(found)])
    return Codec.fit(parse_spec(text, embeddings.shape[1]), embeddings)


def _dataset(command: EncodeRun, encoded: "Encoded") -> "TrackedDataset":
    from tempembed.tracking.tracker import TrackedDataset

    return TrackedDataset(
        context="test", name=Path(command.data[0]).name, source=" ".join(command.data),
        digest=encoded.facts["documents_fingerprint"], num_rows=encoded.num_rows,
    )  # fmt: skip
