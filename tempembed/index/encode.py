"""What one process does of an encode: documents in, a shard of codes out. The same bytes on every machine of one kind, however many work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.codec import Codec
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import Role, RoleName
from tempembed.index.exported import CODEC
from tempembed.index.shards import SHARDS, Encoded, Written, write_shard
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How texts become embeddings: all that a process needs to load."""

    model: str
    role: RoleName = "document"
    prompt: str | None = None
    """In place of the role's own."""
    device: str = "cpu"
    """cpu, or cuda: the GPUs of this machine in turn."""
    fingerprint: str = ""
    """Of the model, which is the same on all machines; empty: whatever it is."""

    def load(self) -> tuple[Encoder, Role]:
        """The model, and how it takes the texts.

        Raises:
            UserError: there is none, or one with another fingerprint.
        """
        encoder = load_encoder(self.model)
        if self.fingerprint and encoder.fingerprint() != self.fingerprint:
            raise UserError(
                f"model {self.model}: expected the same on all machines, got another one here; put it where all machines read it"
            )
        return encoder, self.of(encoder)

    def of(self, encoder: Encoder) -> Role:
        """How a model takes the texts."""
        return encoder.role(self.role, self.prompt)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Documents of one shard."""

    embedding: Embedding
    number: int
    documents: pa.Table
    """id and text."""
    encoded: Encoded
    """Where it goes."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Texts that a codec is fitted on."""

    embedding: Embedding
    number: int
    texts: list[str]


def encode_part(part: Part) -> Written:
    """Embed, compress, and write the shard.

    Raises:
        UserError: another model than the shards are of, embeddings that are not finite, or a full disk.
    """
    encoded = part.encoded
    codec = codec_of(encoded)
    embeddings_MD = _embedded(part.embedding, part.documents["text"].to_pylist(), part.number)
    with one_thread():
        columns = stored(codec, codec.cut(embeddings_MD))
    return write_shard(encoded.folder / SHARDS, part.number, part.documents["id"], columns)


def embed_sample(sample: Sample) -> Float[Tensor, "M D"]:
    """Embeddings of a sample's texts."""
    return _embedded(sample.embedding, sample.texts, sample.number)


def stored(codec: Codec, cut_MK: Float[Tensor, "M K"]) -> dict[str, np.ndarray]:
    """What is stored of documents: their codes in columns, and what re-ranking needs beside them.

    Args:
        codec: fitted.
        cut_MK: the kept coordinates (`Codec.cut`).
    """
    columns = dict(codec.numbers.columns(codec.numbers.encode(cut_MK)))
    if (beside := codec.beside(cut_MK)) is not None:
        columns["rerank"] = beside
    return {name: values.contiguous().numpy() for name, values in columns.items()}


def _embedded(embedding: Embedding, texts: list[str], number: int) -> Tensor:
    device = embedding.device
    if device == "cuda":
        device = f"cuda:{number % torch.cuda.device_count()}"
    with one_thread():
        encoder = _model(replace(embedding, role="document", prompt=None), device)
        return encoder.embed(encoder.prepare(texts, embedding.of(encoder)))


@lru_cache(maxsize=2)
def _model(embedding: Embedding, device: str) -> Encoder:
    """One of a model, whatever roles its texts have."""
    return embedding.load()[0].to(device)


def codec_of(encoded: Encoded) -> Codec:
    """The codec of shards, read once in a process."""
    return _codec(encoded.folder, encoded.facts["codec_fingerprint"])


@lru_cache(maxsize=8)
def _codec(folder: Path, fingerprint: str) -> Codec:
    return Codec.load(folder / CODEC)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order: each process has a core, and how many there are changes no bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
