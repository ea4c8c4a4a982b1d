"""How much a file may ask for: what it says of its sizes is checked against the memory there is."""

import csv
import gzip
import io
import resource
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, AnyStr, cast

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tempembed.data.columns import TEXT, is_text
from tempembed.system.errors import UserError
from tempembed.system.untrusted import require_file
from tempembed.system.wording import first_line

LINE_BYTES = 16 * 2**20
"""Of a line or a cell; an encoder reads the first few thousand characters of a text."""
ROW_BYTES = 64
"""That a row takes beside its texts."""
PART_BYTES = 2**28
"""Of text that is read at a time, at most."""
UNPACKED_BYTES = 2**30
"""That any file may grow to, however small it is."""
RATIO = 1000
"""Times that data may be larger than its file; text is packed to a tenth, and rarely to a hundredth."""
DELTA_BYTES = 2**22
"""What a text is taken for where it may repeat the one before it, and so be far larger than its page."""


def room() -> int:
    """Bytes that data may take: half of the memory that is free, for what is made of it is as large again."""
    free = psutil.virtual_memory().available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    return max(0, free // 2)


def _require_room(size: int, limit: int, source: str) -> None:
    if size > limit:
        raise UserError(
            f"{source}: expected data of at most {limit / 1e9:,.1f} GB (half of the free memory, and {RATIO:,} times the "
            f"file), got {size / 1e9:,.1f} GB or more once it is read; split the file, or check where it comes from"
        )


def lines(
    file: IO[AnyStr],
    source: str,
    unit: str = "bytes",
    advice: str = "put one row on a line, or cut its texts",
) -> Iterator[AnyStr]:
    """The lines of a file, none read beyond 16 Mi bytes or characters.

    Raises:
        UserError: a longer one, with what to do.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise UserError(
                f"{source}, line {number}: expected lines of at most {LINE_BYTES:,} {unit}, got a longer one: {advice}"
            )
        yield line


def cut_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, a longer one cut to LINE_BYTES + 1 bytes, for the caller to reject; the rest of it is passed over."""
    while line := file.readline(LINE_BYTES + 1):
        rest = line
        while len(rest) >= LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES)
        yield line


def is_packed(path: Path) -> bool:
    """Whether the name says gzip."""
    return path.suffix.lower() == ".gz"


@contextmanager
def open_bytes(path: Path, *, kept: bool) -> Iterator[IO[bytes]]:
    """The bytes of a plain file; those of a .gz unpacked, as far as data may be larger than its file.

    Args:
        path: of the file.
        kept: whether the caller keeps all that it reads, or a part at a time.
    """
    with require_file(path).open("rb") as file:
        if not is_packed(path):
            yield file
            return
        limit = max(UNPACKED_BYTES, RATIO * path.stat().st_size)
        unpacked = _Unpacked(file, min(limit, room()) if kept else limit, str(path))
        yield io.BufferedReader(unpacked, 2**18)


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, up to a limit of bytes."""

    def __init__(self, file: IO[bytes], limit: int, source: str) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._limit, self._source, self._size = limit, source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{self._source}: expected a whole gzip file, it is damaged, cut off or something else "
                f"({first_line(error)}): pack or copy it again"
            ) from error
        self._size += len(content)
        _require_room(self._size, self._limit, self._source)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def text_lines(path: Path, *, kept: bool = True) -> Iterator[Iterator[str]]:
    """The lines of a file of text, ends kept; cells of CSV may be as long as a line.

    Bytes that are not UTF-8 stay recognisable (surrogateescape): they cost a row and not the file.
    """
    limit = csv.field_size_limit(LINE_BYTES)
    try:
        with open_bytes(path, kept=kept) as content:
            file = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield lines(
                cast(IO[str], file), str(path), "characters", "end rows with a line break, or cut their texts"
            )
    finally:
        csv.field_size_limit(limit)


@dataclass(frozen=True)
class Parquet:
    """An open Parquet file."""

    path: Path
    """As the user gave it."""
    place: Path
    """Where its bytes are; that of a .gz is a temporary file."""
    file: pq.ParquetFile


@contextmanager
def open_parquet(path: Path) -> Iterator[Parquet]:
    """A Parquet file that has a footer.

    Raises:
        UserError: cut off, damaged, or something else.
    """
    if not is_packed(path):
        with _parquet_file(path, path) as file:
            yield Parquet(path, path, file)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "data.parquet"
        with open_bytes(path, kept=False) as content, place.open("wb") as file:
            shutil.copyfileobj(content, file)
        with _parquet_file(path, place) as opened:
            yield Parquet(path, place, opened)


def _parquet_file(path: Path, place: Path) -> pq.ParquetFile:
    require_file(path)
    try:
        file = pq.ParquetFile(place, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018 (a damaged name shows here)
        return file
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a damaged column name
        with place.open("rb") as damaged:
            start = damaged.read(4)
        found = (
            "one that is cut off or damaged"
            if start == b"PAR1"
            else f"something else (it starts with {start!r})"
        )
        raise UserError(
            f"{path}: expected a whole Parquet file, got {found}: write or copy it again "
            f"({first_line(error)})"
        ) from error


def parquet_batches(parquet: Parquet, names: list[str], rows: int, *, kept: bool) -> Iterator[pa.Table]:
    """Columns of a Parquet file in batches of at most `rows`, texts resolved only where there is room for them.

    Two things may be far larger than the file: a page (which says so), and a text that a dictionary holds once and the
    rows name a million times (so texts are measured before they are read, where the longest leaves that in doubt).

    Args:
        parquet: as `open_parquet` gives it.
        names: of the columns.
        rows: at a time.
        kept: whether the caller keeps all batches, or one at a time.

    Raises:
        UserError: damaged, texts above 16 MiB, or too large for the file or for the memory that is free.
    """
    path, file = parquet.path, parquet.file
    limit = max(UNPACKED_BYTES, RATIO * path.stat().st_size)
    limit = min(limit, room()) if kept else limit
    leaves = {i: file.schema.column(i) for i in range(len(file.schema))}
    leaves = {i: leaf for i, leaf in leaves.items() if _is_of(leaf.path, names)}
    unnamed: set[str] = set()
    pages, texts, longest, row = 0, 0, 1, 1
    for number in range(file.num_row_groups):
        for i, leaf in leaves.items() if file.metadata.row_group(number).num_rows else ():
            length = _longest(parquet, number, leaf, row)
            if length is None:
                unnamed.add(leaf.path)
                length = DELTA_BYTES
            # a damaged footer would end the process here, were it not for the row that could be read before
            chunk = file.metadata.row_group(number).column(i)
            pages += chunk.total_uncompressed_size + ROW_BYTES * chunk.num_values
            longest = max(longest, length)
            texts += length * chunk.num_values
        row += file.metadata.row_group(number).num_rows
    _require_room(pages, limit, str(path))
    if longest > LINE_BYTES:
        raise UserError(
            f"{path}: expected texts of at most {LINE_BYTES:,} bytes, got one of {longest:,}: cut it"
        )
    rows = max(1, min(rows, PART_BYTES // longest))
    if texts > limit:
        measured = 0
        with _opened(parquet, [leaf.path for leaf in leaves.values() if leaf.path not in unnamed]) as named:
            for batch in _readable(named.iter_batches(rows, columns=names), path):
                measured += sum(map(_text_bytes, batch.columns))
                _require_room(measured, limit, str(path))
    yield from resolved(_readable(file.iter_batches(rows, columns=names), path), str(path), limit, kept=kept)


def _opened(parquet: Parquet, named: list[str]) -> pq.ParquetFile:
    """The file again; columns that are `named` come as places in a dictionary."""
    return pq.ParquetFile(
        parquet.place, metadata=parquet.file.metadata, read_dictionary=named, buffer_size=2**16, pre_buffer=False,
        page_checksum_verification=True,
    )  # fmt: skip


def _longest(parquet: Parquet, group: int, leaf: pq.ColumnSchema, row: int) -> int | None:
    """Bytes of the longest text that a column's dictionary holds; None where texts repeat each other without one.

    Raises:
        UserError: not a row of it can be read.
    """

    def first_row(names: list[str]) -> pa.Array:
        with _opened(parquet, names) as again:
            return next(again.iter_batches(1, row_groups=[group], columns=[leaf.path])).column(0)

    try:
        if leaf.physical_type != "BYTE_ARRAY":
            first_row([])
            return 1
        array = first_row([leaf.path])  # a row brings the whole dictionary along
    except (pa.ArrowException, OSError, StopIteration):
        try:
            first_row([])
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise _damaged(parquet.path, row, error) from error
        return None
    while _is_any_list(array.type) or pa.types.is_struct(array.type):
        array = array.flatten() if _is_any_list(array.type) else array.flatten()[0]
    if not _is_named(array.type) or not len(array.dictionary):
        return 1
    return pc.max(pc.binary_length(array.dictionary)).as_py() or 1


def _readable(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.Table]:
    row = 1
    while True:
        # Only the reading is inside `try`: an error of ours must not be reported as damage of the file.
        try:
            batch = next(batches, None)
            if batch is not None and batch.num_rows < 0:  # as its pages say
                raise pa.ArrowInvalid(f"a batch of {batch.num_rows} rows")
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, row, error) from error
        if batch is None:
            return
        row += batch.num_rows
        yield pa.Table.from_batches([batch])


def _damaged(path: Path, row: int, error: BaseException) -> UserError:
    return UserError(
        f"{path}: expected a readable Parquet file, but it is damaged near row {row}: write or copy it again "
        f"({first_line(error)})"
    )


def _is_of(path: str, names: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)


def resolved(
    tables: Iterable[pa.Table], source: str, limit: int | None = None, *, kept: bool
) -> Iterator[pa.Table]:
    """The tables with their dictionaries of text resolved, where there is room for that.

    Raises:
        UserError: there is not.
    """
    free = room() if limit is None else limit
    for table in tables:
        size = sum(map(_text_bytes, table.columns))
        _require_room(size, free, source)
        free -= size + ROW_BYTES * len(table) if kept else 0
        step = len(table) if size <= PART_BYTES else max(1, len(table) * PART_BYTES // size)
        for start in range(0, len(table), max(1, step)):
            part = table.slice(start, step)
            columns = [_plain(column) for column in part.columns]
            yield pa.table(columns, names=table.column_names) if columns else part


def validated(tables: Iterable[pa.Table], source: str) -> Iterator[pa.Table]:
    """The tables, whose places are checked to be inside: Arrow maps a file into memory and believes it.

    Raises:
        UserError: one is not.
    """
    row = 1
    for table in tables:
        try:
            for chunk in (chunk for column in table.columns for chunk in column.chunks):
                chunk.validate()
                _validate(chunk)
        except (pa.ArrowException, ValueError, IndexError) as error:
            raise UserError(
                f"{source}: expected whole Arrow data, it is damaged from row {row} on ({first_line(error)}): save it again"
            ) from error
        row += len(table)
        yield table


def _validate(array: pa.Array) -> None:
    """All but UTF-8, which costs a row and not the file."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        array.indices.validate(full=True)
        least, most = pc.min_max(array.indices).values()
        if least.is_valid and not 0 <= least.as_py() <= most.as_py() < len(array.dictionary):
            raise ValueError(f"an index beyond {len(array.dictionary)}")
        _validate(array.dictionary)
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_):
        kind = pa.ListArray if pa.types.is_list(type_) else pa.LargeListArray
        kind.from_arrays(array.offsets, pa.nulls(len(array.values))).validate(full=True)
        _validate(array.values)
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_):
        array.view(pa.binary() if pa.types.is_string(type_) else pa.large_binary()).validate(full=True)
    else:
        array.validate(full=True)


def _is_named(type_: pa.DataType) -> bool:
    return pa.types.is_dictionary(type_) and is_text(type_)


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Of a column of text, or of lists and objects of text, resolved."""
    if _is_any_list(column.type):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        return _text_bytes(column)
    if pa.types.is_struct(column.type):
        return sum(map(_text_bytes, column.flatten()))
    if not _is_named(column.type):
        return column.nbytes
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _is_any_list(type_: pa.DataType) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_named(column.type):
        return column.cast(TEXT)
    if _is_any_list(column.type) and _is_named(column.type.value_type):
        return column.cast(pa.list_(TEXT))
    return column
