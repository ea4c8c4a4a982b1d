"""What a corpus costs before it is encoded: time, bytes and money, from rates that are measured here at two sizes and checked at a third."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import torch

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import Spec
from tempembed.encoders.encoder import Encoder
from tempembed.index.encode import one_thread, stored
from tempembed.index.hamming import hamming_top_k
from tempembed.index.shards import write_shard
from tempembed.index.top_k import decoded_top_k
from tempembed.system.errors import UserError

SECONDS = 2.0
"""CPU time that the largest measurement is to take, about."""
MOST_CODES, MOST_BYTES = 4_000_000, 2**29
"""Codes that a search is measured on: a quarter and a half for the rate, all to check it."""
QUERIES = 8
PATIENCE = 7 * 24 * 3600.0
ANSWER = 1.0


@dataclass(frozen=True, kw_only=True)
class Rate:
    """CPU seconds of one core: those of an item, and what they were predicted to be at a third size."""

    seconds: float
    size: int
    """The third."""
    predicted: float
    measured: float

    @property
    def miss(self) -> float:
        """How far the prediction is off."""
        return self.predicted / self.measured - 1


def rate(work: Callable[[int], object], sizes: Sequence[int]) -> Rate:
    """The line through two sizes, and the third.

    Args:
        work: does so many items, on one thread.
        sizes: three, ascending.
    """
    work(sizes[0])  # what is loaded and compiled at the first time
    taken = []
    for size in sizes:
        began = time.process_time()
        work(size)
        taken.append(time.process_time() - began)
    each = max((taken[1] - taken[0]) / (sizes[1] - sizes[0]), 1e-12)
    predicted = taken[1] + each * (sizes[2] - sizes[1])
    return Rate(seconds=each, size=sizes[2], predicted=predicted, measured=taken[2])


@dataclass(frozen=True, kw_only=True)
class CorpusPlan:
    """What encoding and searching so many documents costs."""

    num: float
    spec: Spec
    encode: Rate
    search: Rate
    """Of a query over a document."""
    disk_bytes: float
    """Of a document, in shards."""
    shard_rows: int
    cores: int
    memory: int
    disk: int
    """Free here."""

    @property
    def core_seconds(self) -> float:
        """Of the whole encode."""
        return self.num * self.encode.seconds

    @property
    def limits(self) -> list[tuple[float, str]]:
        """Documents at which something breaks on this machine, and what, the first first."""
        size = self.spec.search_bytes
        found = [
            (self.memory / size, f"codes of {size} bytes fill the {self.memory / 1e9:.1f} GB of memory that are free: search them in parts, or on several machines"),
            (self.disk / self.disk_bytes, f"shards of {self.disk_bytes:.0f} bytes a document fill the {self.disk / 1e9:,.0f} GB of disk that are free"),
            (PATIENCE * self.cores / self.encode.seconds, f"encoding takes more than a week on {self.cores} cores: ray_jobs.encode, or a GPU"),
            (ANSWER * self.cores / self.search.seconds, f"a search of all takes more than {ANSWER:.0f} s on {self.cores} cores: an engine with an index"),
        ]  # fmt: skip
        return sorted(found)

    def text(self, price: float | None) -> str:
        """As a table."""
        spec, hours = self.spec, self.core_seconds / 3600
        shards = -(-self.num // self.shard_rows)
        lines = [
            ("documents", f"{self.num:,.0f} of {spec}, {spec.bytes_per_vector} bytes each"),
            ("memory", f"{self.num * spec.search_bytes / 1e9:,.1f} GB of codes that are searched"
             + (f", and {self.num * spec.rerank_bytes / 1e9:,.1f} GB beside them for re-ranking" if spec.rerank_bytes else "")),
            ("disk", f"{self.num * self.disk_bytes / 1e9:,.1f} GB in {shards:,.0f} shards of {self.shard_rows:,}, Parquet and .npy"),
            ("encode", f"{hours:,.1f} core hours, {hours / self.cores:,.1f} h on {self.cores} cores: {1 / self.encode.seconds:,.0f} documents a second and core"),
            ("search", f"{self.num * self.search.seconds / self.cores:,.2f} s a query over all of them on {self.cores} cores"),
            ("checked", f"{_checked(self.encode, 'documents')}; {_checked(self.search, 'codes')}"),
        ]  # fmt: skip
        if price is not None:
            lines.insert(4, ("money", f"{hours * price:,.2f} at {price:g} a core hour"))
        first, why = self.limits[0]
        lines.append(("breaks first", f"at {first:,.0f} documents: {why}"))
        return "\n".join(f"{name:<14}{text}" for name, text in lines)


def _checked(found: Rate, what: str) -> str:
    return f"{found.size:,} {what} took {found.measured:.2f} s, predicted {found.predicted:.2f} s ({found.miss:+.0%})"


def plan_corpus(
    num: float,
    spec: Spec,
    encoder: Encoder,
    texts: Sequence[str],
    *,
    shard_rows: int,
    cores: int,
    place: Path,
) -> CorpusPlan:
    """Measure the rates, on one thread, and the bytes of a shard.

    Args:
        num: documents.
        spec: the codec.
        encoder: the model.
        texts: documents like those of the corpus, some hundred at least.
        shard_rows: documents of a shard.
        cores: that will work.
        place: where shards will lie, for the free disk.

    Raises:
        UserError: too few texts.
    """
    if len(texts) < 64:
        raise UserError(
            f"--data: expected at least 64 documents to measure with, got {len(texts)}; give more"
        )
    with one_thread():
        codec, encode = _encode_rate(spec, encoder, texts)
        search = _search_rate(spec, codec)
        disk_bytes = _disk_bytes(codec, encoder.width)
    there = next(each for each in (place, *place.absolute().parents) if each.is_dir())
    return CorpusPlan(
        num=num, spec=spec, encode=encode, search=search, disk_bytes=disk_bytes, shard_rows=shard_rows, cores=cores,
        memory=psutil.virtual_memory().available, disk=shutil.disk_usage(there).free,
    )  # fmt: skip


def _encode_rate(spec: Spec, encoder: Encoder, texts: Sequence[str]) -> tuple[Codec, Rate]:
    role = encoder.role("document")

    def embedded(size: int) -> torch.Tensor:
        repeated = [texts[place % len(texts)] for place in range(size)]
        return encoder.embed(encoder.prepare(repeated, role))

    began = time.process_time()
    first = embedded(64)
    each = (time.process_time() - began) / 64
    # random directions: what a codec learns of them changes no time and no size
    noise = torch.randn(max(512, 2 * spec.width), encoder.width, generator=torch.Generator().manual_seed(0))
    codec = Codec.fit(spec, torch.cat([first, noise]))
    size = max(64, min(100_000, int(SECONDS / each / 4)))
    return codec, rate(lambda size: codec.encode(embedded(size)), (size, 2 * size, 4 * size))


def _search_rate(spec: Spec, codec: Codec) -> Rate:
    generator = torch.Generator().manual_seed(0)
    documents = codec.encode(torch.randn(4096, codec.full, generator=generator))
    queries = codec.cut(torch.randn(QUERIES, codec.full, generator=generator))
    most = min(MOST_CODES, MOST_BYTES // spec.search_bytes)
    codes = documents.repeat(-(-most // len(documents)), 1)

    def search(size: int) -> object:
        if spec.is_bits:
            return hamming_top_k(codec.numbers.encode(queries), codes[:size], 100)
        return decoded_top_k(codec.numbers.query(queries), codes[:size], codec.numbers.scored, 100)

    found = rate(search, (most // 4, most // 2, most))
    return Rate(
        seconds=found.seconds / QUERIES, size=found.size, predicted=found.predicted, measured=found.measured
    )


def _disk_bytes(codec: Codec, width: int) -> float:
    """Of a document in a shard, its id as a number of ten digits."""
    rows = torch.randn(4096, width, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as scratch:
        ids = pa.array(
            [f"{number:010d}" for number in np.random.default_rng(0).integers(0, 10**10, len(rows))]
        )
        write_shard(Path(scratch), 0, ids, stored(codec, codec.cut(rows)))
        return sum(os.stat(path).st_size for path in Path(scratch).iterdir()) / len(rows)
