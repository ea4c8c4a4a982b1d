"""Rows of any file in our columns.

A row is fine, or a `BadRow` says why not; `_clean_row` is the only place that decides. Arrow batches take a
short cut (`_clean_batch`), which gives up on a batch that is not perfect and leaves it to `_clean_row`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.columns import HARD_NEGATIVES, LABEL, SCHEMA, TEXT, Columns, is_text
from tempembed.data.faults import BadRow, Faults
from tempembed.data.wording import shown

CHUNK_ROWS = 65_536  # rows held as Python objects at a time
_PLACES = pa.schema({"row": pa.int64(), "line": pa.int64()})  # where a row came from; line 0: not a text file


class Collector:
    """The good rows of one file, turned into Arrow chunk by chunk to bound what Python objects take."""

    def __init__(self, *, name: str, faults: Faults) -> None:
        self.num_rows = 0  # rows seen, good or bad
        self._name = name
        self._faults = faults
        self._tables: list[pa.Table] = []
        self._rows: list[_CleanRow] = []
        self._places: list[tuple[int, int]] = []

    def add(self, values: Mapping[str, Any], columns: Columns, row: int, line: int = 0) -> None:
        """Take one row, or raise `BadRow`."""
        self._rows.append(_clean_row(values, columns))
        self._places.append((row, line))
        self.num_rows = row
        if len(self._rows) >= CHUNK_ROWS:
            self._flush()

    def reject(self, bad: BadRow, row: int, line: int = 0) -> None:
        """Hand a bad row to the faults of all files."""
        self.num_rows = row
        self._faults.add(bad, self._name, row, line)

    def add_batches(self, batches: Iterable[pa.Table], columns: Columns) -> None:
        """Take batches of a file, their rows in order; bad ones go to the faults."""
        for batch in batches:
            first = self.num_rows + 1
            clean = _clean_batch(batch, columns)
            if clean is not None:
                self._append(clean, range(first, first + len(batch)), [0] * len(batch))
                self.num_rows += len(batch)
                continue
            for row, values in enumerate(_python_rows(batch, columns.names), start=first):
                try:
                    self.add(values, columns, row)
                except BadRow as bad:
                    self.reject(bad, row)
            self._flush()

    def table(self) -> pa.Table:
        """The rows so far, in the columns of `SCHEMA`; either all have a label or none has."""
        self._flush()
        schema = pa.schema([*SCHEMA, *_PLACES])
        table = pa.concat_tables([schema.empty_table(), *self._tables])
        unlabelled = table[LABEL].null_count
        if 0 < unlabelled < len(table):
            missing = pc.is_null(table[LABEL])
            bad = BadRow("missing label", "a label, as other rows have", "none", "fill it in", column=LABEL)
            places = table.select(_PLACES.names).filter(missing).to_pylist()
            for place in places:
                self._faults.add(bad, self._name, place["row"], place["line"])
            table = table.filter(pc.invert(missing))
        return table.select(SCHEMA.names)

    def _flush(self) -> None:
        if self._rows:
            arrays = [pa.array(v, f.type) for v, f in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)]
            self._append(pa.table(arrays, schema=SCHEMA), *zip(*self._places, strict=True))
            self._rows, self._places = [], []

    def _append(self, table: pa.Table, rows: Sequence[int], lines: Sequence[int]) -> None:
        for place, numbers in zip(_PLACES, (rows, lines), strict=True):
            table = table.append_column(place, pa.array(numbers, place.type))
        self._tables.append(table)


class _CleanRow(NamedTuple):  # a tuple, not a dataclass: made once per row of JSON Lines and CSV
    query: str
    document: str
    hard_negatives: list[str]
    label: str | None


def _clean_row(values: Mapping[str, Any], columns: Columns) -> _CleanRow:
    """The row in our columns, or `BadRow`."""
    return _CleanRow(
        query=checked_text(values.get(columns.query), columns.query),
        document=checked_text(values.get(columns.document), columns.document),
        hard_negatives=_row_negatives(values, columns),
        label=_row_label(values.get(columns.label), columns.label) if columns.label else None,
    )


def checked_text(value: Any, column: str, item: str = "") -> str:
    """The value, if it is text that is not blank and can be written as UTF-8; otherwise `BadRow`.

    `item` says which part of the cell it is, for the message.
    """
    if value is None:
        raise BadRow("missing text", f"text{item}", "nothing (null)", "fill it in", column=column)
    if not isinstance(value, str):
        raise BadRow("wrong type", f"text{item}", shown(value), "write it as text", column=column)
    if not value.strip():
        raise BadRow("empty text", f"text{item}", f"{shown(value)} (empty)", "fill it in", column=column)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            # surrogateescape turns byte 0xNN into U+DCNN; other lone surrogates come from JSON escapes.
            what = (
                f"byte 0x{code - 0xDC00:02x}"
                if 0xDC80 <= code <= 0xDCFF
                else f"half a character (U+{code:04X})"
            )
            found = f"{what} after {error.start} characters"
            raise BadRow(
                "invalid UTF-8", f"UTF-8{item}", found, "save the data as UTF-8", column=column
            ) from error
    return value


def _row_negatives(values: Mapping[str, Any], columns: Columns) -> list[str]:
    if columns.hard_negatives is None:
        found = [(values.get(name), name) for name in columns.negatives]
        return [checked_text(value, name) for value, name in found if not _is_absent(value)]
    value = values.get(columns.hard_negatives)
    if value is None:
        return []
    if not isinstance(value, list):
        todo = 'write ["first", "second"]'
        expected = "a list of texts (in CSV as JSON in one cell)"
        raise BadRow("wrong type", expected, shown(value), todo, column=columns.hard_negatives)
    return [
        checked_text(text, columns.hard_negatives, f" as item {number} of the list")
        for number, text in enumerate(value, start=1)
    ]


def _row_label(value: Any, column: str) -> str | None:
    if _is_absent(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRow("wrong type", "text or a whole number", shown(value), "write it as text", column=column)
    return checked_text(value, column)


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _clean_batch(batch: pa.Table, columns: Columns) -> pa.Table | None:
    """The batch in our columns, or None if any of its rows needs `_clean_row`."""
    query, document = (_text_array(batch[name]) for name in (columns.query, columns.document))
    label = _text_array(batch[columns.label]) if columns.label else pa.nulls(len(batch), TEXT)
    if query is None or document is None or label is None or _blank(query).any() or _blank(document).any():
        return None
    negatives = _negative_lists(batch, columns)
    if negatives is None:
        return None
    label = pc.if_else(pa.array(_blank(label)), pa.scalar(None, TEXT), label)
    return pa.table([query, document, negatives, label], schema=SCHEMA)


def _text_array(column: pa.ChunkedArray) -> pa.Array | None:
    """The column as one array of text, or None if it is not UTF-8 (writers do not check)."""
    try:
        column = column.cast(TEXT)
        column.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return column.combine_chunks()


def _blank(texts: pa.Array) -> np.ndarray:
    """Whether each is null, empty or white space, by the same rule as `str.strip`."""
    return pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(True).to_numpy(zero_copy_only=False)


def _negative_lists(batch: pa.Table, columns: Columns) -> pa.Array | None:
    """list<large_string>, one list per row; None if any row needs `_clean_row`."""
    num_rows = len(batch)
    if columns.hard_negatives:
        lists = batch[columns.hard_negatives].cast(SCHEMA.field(HARD_NEGATIVES).type).combine_chunks()
        texts = _text_array(pa.chunked_array([lists.flatten()]))
        if texts is None or _blank(texts).any():
            return None
        counts = pc.list_value_length(lists).fill_null(0).to_numpy()
    else:
        arrays = [_text_array(batch[name]) for name in columns.negatives]
        if any(array is None for array in arrays):
            return None
        present = np.array([~_blank(array) for array in arrays], bool).reshape(len(arrays), num_rows)
        row, column = np.nonzero(present.T)  # row by row, in the order of the columns
        texts = pa.concat_arrays([pa.array([], TEXT), *arrays]).take(pa.array(column * num_rows + row))
        counts = present.sum(axis=0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts)


def _python_rows(batch: pa.Table, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    columns = [python_values(batch[name]) for name in names]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The column as Python objects; bytes that are not UTF-8 become surrogates, which `checked_text` names."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        pass

    def decoded(value: Any) -> Any:
        if isinstance(value, list):
            return [decoded(item) for item in value]
        return value if value is None else value.decode("utf-8", "surrogateescape")

    text, binary = TEXT, pa.large_binary()
    if not is_text(column.type):
        text, binary = pa.list_(text), pa.list_(binary)
    return [decoded(value) for value in column.cast(text).cast(binary).to_pylist()]
