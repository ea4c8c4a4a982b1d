"""Arrow data of others: checked to be whole, and its dictionaries of text resolved where there is room for that."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bounds import require_room, room
from tempembed.data.columns import TEXT, is_text
from tempembed.system.errors import UserError
from tempembed.system.wording import first_line

ROW_BYTES = 64
"""What a row takes beside its texts."""
PART_BYTES = 2**28
"""The most text that is read at a time."""


def resolved(
    tables: Iterable[pa.Table], source: str, limit: int | None = None, *, kept: bool
) -> Iterator[pa.Table]:
    """The tables with their dictionaries of text resolved, where there is room for that.

    Raises:
        UserError: there is not.
    """
    free = room() if limit is None else limit
    for table in tables:
        size = sum(map(text_bytes, table.columns))
        require_room(size, free, source)
        free -= size + ROW_BYTES * len(table) if kept else 0
        step = len(table) if size <= PART_BYTES else max(1, len(table) * PART_BYTES // size)
        for start in range(0, len(table), max(1, step)):
            part = table.slice(start, step)
            columns = [_plain(column) for column in part.columns]
            yield pa.table(columns, names=table.column_names) if columns else part


def validated(tables: Iterable[pa.Table], source: str) -> Iterator[pa.Table]:
    """The tables, checked: Arrow maps a file into memory and believes what it says of places in it.

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
    """Raise unless the array is whole; bytes that are not UTF-8 pass, they cost a row and not the file."""
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


def is_named(type_: pa.DataType) -> bool:
    """Whether it is text as places in a dictionary."""
    return pa.types.is_dictionary(type_) and is_text(type_)


def text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a column of text, or of lists and objects of text, once it is resolved."""
    if is_any_list(column.type):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        return text_bytes(column)
    if pa.types.is_struct(column.type):
        return sum(map(text_bytes, column.flatten()))
    if not is_named(column.type):
        return column.nbytes
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def is_any_list(type_: pa.DataType) -> bool:
    """Whether it is lists, in one of their forms."""
    return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if is_named(column.type):
        return column.cast(TEXT)
    if is_any_list(column.type) and is_named(column.type.value_type):
        return column.cast(pa.list_(TEXT))
    return column
