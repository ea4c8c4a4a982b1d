"""Training pairs made ready a part at a time: tokenised and identified on every CPU, and joined in order.

A part that is done stays on disk until all are, so that an interrupted preparation goes on.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.columns import DOCUMENT, HARD_NEGATIVES, QUERY
from tempembed.data.kept_rows import MANY, packed, parts, unpacked
from tempembed.data.partners import Partners
from tempembed.data.text_ids import text_ids
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.role import ROLES, Role
from tempembed.encoders.weightless import weightless
from tempembed.inputs.files import join_arrays
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.saved import join_inputs
from tempembed.system.console import Progress
from tempembed.system.in_order import Pool, in_order, num_cpus

IDS, NEGATIVE_IDS, HAS_NEGATIVE = "{}.text_ids.npy", "hard_negatives.text_ids.npy", "has_negative.npy"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is made of some pairs."""

    inputs: dict[str, Inputs]
    """query, document, negative_0 ...: a row for each pair; that of an absent hard negative is empty."""
    arrays: dict[str, np.ndarray]
    """By file: int64 text ids [rows] of the roles; [N, rows] of hard negatives, and bool which there are."""

    def save(self, folder: Path) -> None:
        """Write a folder, which is whole if it is there."""
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, inputs in self.inputs.items():
            inputs.save(partial, name)
        for name, array in self.arrays.items():
            np.save(partial / name, array)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


@dataclass(frozen=True, kw_only=True)
class PartOf:
    """Makes a part of pairs; can go to another process."""

    encoder: Encoder
    query: Role
    document: Role
    num_negatives: int
    """Of the row that has the most."""

    def __call__(self, content: bytes) -> Part:
        """Of the pairs that `packed` wrote."""
        return self.of(unpacked(content))

    def of(self, pairs: pa.Table) -> Part:
        """Tokenise and identify."""
        queries, documents = pairs[QUERY].to_pylist(), pairs[DOCUMENT].to_pylist()
        inputs = {
            "query": self.encoder.prepare(queries, self.query),
            "document": self.encoder.prepare(documents, self.document),
        }
        arrays = {IDS.format("query"): text_ids(queries), IDS.format("document"): text_ids(documents)}
        if self.num_negatives:
            rows = [texts or () for texts in pairs[HARD_NEGATIVES].to_pylist()]
            counts = np.array(list(map(len, rows)))
            has = np.arange(self.num_negatives)[:, None] < counts
            ids = np.zeros(has.shape, np.int64)
            for k in range(self.num_negatives):
                texts = [row[k] for row in rows if k < len(row)]
                inputs[f"negative_{k}"] = self.encoder.prepare(texts, self.document).at(has[k])
                ids[k, has[k]] = text_ids(texts)
            arrays |= {NEGATIVE_IDS: ids, HAS_NEGATIVE: has}
        return Part(inputs=inputs, arrays=arrays)


def num_hard_negatives(pairs: pa.Table) -> int:
    """Those of the row that has the most."""
    if HARD_NEGATIVES not in pairs.column_names:
        return 0
    return pc.max(pc.list_value_length(pairs[HARD_NEGATIVES])).as_py() or 0


def write_parts(
    make: PartOf,
    pairs: pa.Table,
    work: Path,
    target: Path,
    say: Callable[[str], None],
    *,
    pool: Pool | None = None,
) -> None:
    """Write inputs, ids and partners of all pairs: the same bytes on any number of processes.

    Args:
        make: makes a part.
        pairs: the table.
        work: keeps the parts that are done, for a call after one that was interrupted.
        target: takes the files.
        say: takes progress.
        pool: what runs it elsewhere; without one, many pairs take a process for each CPU.
    """
    work.mkdir(exist_ok=True)
    named = {f"{number:06d}": part for number, part in enumerate(parts(pairs))}
    done = {name for name, part in named.items() if _is_done(work / name, len(part))}
    left = sum(len(part) for name, part in named.items() if name not in done)
    if done:
        say(f"goes on: {len(pairs) - left:,} of {len(pairs):,} pairs are tokenised already")
    progress = Progress("tokenised", "pairs", left, say)
    left_out = [(name, part) for name, part in named.items() if name not in done]
    for name, part in _made(make, left_out, pool or (num_cpus() if len(pairs) >= MANY else 1)):
        part.save(work / name)
        progress.add(len(named[name]))
    progress.close()
    folders = [work / name for name in named]
    for column in ("query", "document", *(f"negative_{k}" for k in range(make.num_negatives))):
        join_inputs(folders, target, column)
    for file in map(IDS.format, ROLES):
        join_arrays([folder / file for folder in folders], target / file)
    for file in (NEGATIVE_IDS, HAS_NEGATIVE) if make.num_negatives else ():
        join_arrays([folder / file for folder in folders], target / file, axis=1)
    queries, documents = (np.load(target / IDS.format(role)) for role in ROLES)
    Partners.of(queries, documents).save(target, "answers")
    Partners.of(documents, queries).save(target, "askers")


def _is_done(folder: Path, size: int) -> bool:
    """Whether an earlier call left a part of so many pairs; that of another version may have had others."""
    try:
        return len(np.load(folder / IDS.format("query"), mmap_mode="r")) == size
    except (OSError, ValueError):
        return False


def _made(
    make: PartOf, named: Sequence[tuple[str, pa.Table]], over: int | Pool
) -> Iterator[tuple[str, Part]]:
    """What is made of parts, in their order."""
    if over == 1:
        yield from ((name, make.of(part)) for name, part in named)
        return
    light = replace(make, encoder=weightless(make.encoder))
    found = in_order(light, (packed(part) for _, part in named), over)
    yield from zip((name for name, _ in named), (part for _, part in found), strict=True)
