"""Rows that may be more than memory holds: in memory while they are few, else in a file of the cache that has no name."""

import mmap
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, TypeVar

import numpy as np
import pyarrow as pa

from tempembed.system.cache import cache_dir
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.in_order import in_order, num_cpus

R = TypeVar("R")
PART_ROWS = 2**14
"""Rows that are taken at a time."""
MANY = 2**18
"""Rows from which on several processes are faster than one that need not start others."""
IN_MEMORY = 2**26
"""Bytes of tables above which they go to disk."""


class KeptRows:
    """Tables of one schema, added one after the other, and read as one.

    The file is gone with the last table that is made of it, however the process ends.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema, self._tables, self._bytes = schema, list[pa.Table](), 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Add rows behind those that are there.

        Raises:
            DiskFullError: what was read is lost, nothing else.
        """
        if self._writer is None:
            self._tables.append(table)
            self._bytes += table.nbytes
            if self._bytes <= IN_MEMORY:
                return
            with room_for("pairs that are read", cache_dir()):
                cache_dir().mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=cache_dir())
            self._writer = pa.ipc.new_file(self._file, self._schema)
            tables, self._tables = self._tables, []
        else:
            tables = [table]
        with room_for("pairs that are read", cache_dir()):
            for each in tables:
                self._writer.write_table(each, max_chunksize=PART_ROWS)
        pa.default_memory_pool().release_unused()  # Arrow keeps what was freed, a gigabyte and more

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def table(self) -> pa.Table:
        """All rows; nothing can be added afterwards.

        Raises:
            UserError: the address space that the system allows is too small to map the file.
        """
        if self._writer is None or self._file is None:
            return pa.concat_tables([self._schema.empty_table(), *self._tables])
        with room_for("pairs that are read", cache_dir()):
            self._writer.close()
            self._file.flush()
        try:
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UserError(
                f"expected address space for {self._file.tell() / 1e9:,.1f} GB of rows, got less (ulimit -v): raise the limit"
            ) from error
        return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def parts(table: pa.Table) -> Iterator[pa.Table]:
    """The rows, so many at a time."""
    for start in range(0, len(table), PART_ROWS):
        yield table.slice(start, PART_ROWS)


def over_parts(function: Callable[[pa.Table], R], table: pa.Table) -> Iterator[R]:
    """What a function makes of each part, in order; of many rows on a process for each CPU, so it must be one that can be pickled."""
    if len(table) < MANY or num_cpus() == 1:
        yield from map(function, parts(table))
        return
    found = in_order(partial(_of_packed, function), map(packed, parts(table)), num_cpus())
    yield from (result for _, result in found)


def packed(part: pa.Table) -> bytes:
    """A part for another process: pickle would send all that it is a slice of."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as writer:
        writer.write_table(part)
    return sink.getvalue().to_pybytes()


def unpacked(content: bytes) -> pa.Table:
    """What `packed` wrote."""
    return pa.ipc.open_stream(content).read_all()


def _of_packed(function: Callable[[pa.Table], R], content: bytes) -> R:
    return function(unpacked(content))


def filtered(table: pa.Table, kept: np.ndarray) -> pa.Table:
    """The rows where `kept` (bool) is true."""
    if kept.all():
        return table
    rows = KeptRows(table.schema)
    for number, part in enumerate(parts(table)):
        rows.add(part.filter(pa.array(kept[number * PART_ROWS :][: len(part)])))
    return rows.table()


def several_times(values: np.ndarray) -> np.ndarray:
    """The numbers that come more than once, ascending; takes the memory of one more copy."""
    ordered = np.sort(values)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def repeated(values: np.ndarray) -> np.ndarray:
    """Bool, for each number, whether another is equal; takes the memory of one more copy."""
    several = several_times(values)
    found = np.zeros(len(values), bool)
    if len(several):
        for start in range(0, len(values), PART_ROWS):
            part = values[start : start + PART_ROWS]
            at = np.minimum(np.searchsorted(several, part), len(several) - 1)
            found[start : start + PART_ROWS] = several[at] == part
    return found
