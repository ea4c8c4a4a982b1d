"""Parquet files of others: damage is named, and texts are resolved only where there is room for them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tempembed.data.arrow import PART_BYTES, ROW_BYTES, is_any_list, is_named, resolved, text_bytes
from tempembed.data.bounds import LINE_BYTES, data_limit, is_packed, open_bytes, require_room
from tempembed.system.errors import UserError
from tempembed.system.untrusted import require_file
from tempembed.system.wording import first_line

DELTA_BYTES = 2**22
"""What a text is taken for where it may repeat the one before it, and so be far larger than its page."""


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
    limit = data_limit(path, kept=kept)
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
    require_room(pages, limit, str(path))
    if longest > LINE_BYTES:
        raise UserError(
            f"{path}: expected texts of at most {LINE_BYTES:,} bytes, got one of {longest:,}: cut it"
        )
    rows = max(1, min(rows, PART_BYTES // longest))
    if texts > limit:
        measured = 0
        with _opened(parquet, [leaf.path for leaf in leaves.values() if leaf.path not in unnamed]) as named:
            for batch in _readable(named.iter_batches(rows, columns=names), path):
                measured += sum(map(text_bytes, batch.columns))
                require_room(measured, limit, str(path))
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
    while is_any_list(array.type) or pa.types.is_struct(array.type):
        array = array.flatten() if is_any_list(array.type) else array.flatten()[0]
    if not is_named(array.type) or not len(array.dictionary):
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
