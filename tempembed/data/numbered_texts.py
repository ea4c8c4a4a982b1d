"""Texts by number, in a file that is mapped into memory: any of them at once, however many there are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from tempembed.data.columns import TEXT
from tempembed.data.documents import SCHEMA, Surveyed
from tempembed.data.kept_rows import PART_ROWS
from tempembed.system.checksums import sha256
from tempembed.system.disk import room_for


@dataclass(frozen=True, kw_only=True)
class NumberedTexts:
    """Texts, each with its number from 0; can go to another process."""

    path: Path
    """Of the file, whose name is a sum of its content."""

    @staticmethod
    def write(folder: Path, parts: Iterable[pa.Array]) -> "NumberedTexts":
        """Write texts into a folder; those that are there already stay as they are.

        Raises:
            DiskFullError: nothing is left.
        """
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{uuid4().hex}.arrow"
        try:
            with room_for("texts", folder):
                with pa.ipc.new_file(partial, pa.schema({"text": TEXT})) as writer:
                    for part in parts:
                        writer.write_table(pa.table({"text": part}), max_chunksize=PART_ROWS)
                path = folder / f"{sha256(partial)[:32]}.arrow"
                partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        return NumberedTexts(path=path)

    def __len__(self) -> int:
        return len(_opened(self.path)[0])

    def take(self, numbers: Int[np.ndarray, " P"]) -> pa.Array:
        """The texts of some numbers, in their order. Arrow's own `take` would copy all texts first."""
        column, ends = _opened(self.path)
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        bounds = np.searchsorted(ordered, [0, *ends])
        found = [pa.array([], TEXT)]
        for chunk in np.flatnonzero(np.diff(bounds)).tolist():
            start = int(ends[chunk - 1]) if chunk else 0
            found.append(
                column.chunk(chunk).take(pa.array(ordered[bounds[chunk] : bounds[chunk + 1]] - start))
            )
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return pa.concat_arrays(found).take(pa.array(places))

    def survey(self, say: Callable[[str], None]) -> Surveyed:
        """What they are: each was looked at when it was written."""
        return Surveyed(num_rows=len(self), fingerprint=self.path.stem)

    def shards(self, rows: int) -> Iterator[pa.Table]:
        """All as `SCHEMA`, `rows` at a time; the id of a text is its number."""
        for low in range(0, len(self), rows):
            numbers = np.arange(low, min(low + rows, len(self)))
            yield pa.table([pa.array(numbers).cast(pa.string()), self.take(numbers)], SCHEMA)

    def sample(self, num: int, of: int) -> list[str]:
        """At most `num` texts, evenly spread over all `of` them."""
        return self.take(np.arange(0, of, max(1, of // num))[:num]).to_pylist()


@lru_cache(maxsize=4)
def _opened(path: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    """The texts, and where each chunk of them ends."""
    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all()["text"]
    return column, np.cumsum([len(chunk) for chunk in column.chunks], dtype=np.int64)
