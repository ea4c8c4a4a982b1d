"""Rows of any file, checked and turned into the columns of pairs.

A row is good, or a `BadRow` says why not; only `_clean_rows` decides. Batches of Arrow take a short cut (`_clean_batch`),
which leaves every batch that is not perfect to `_clean_rows`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bad_rows import BadRow, Faults
from tempembed.data.columns import (
    HARD_NEGATIVES,
    LABEL,
    MESSAGES,
    SCHEMA,
    SCORE,
    SCORES,
    TEXT,
    Columns,
    is_list_of_text,
    is_text,
)
from tempembed.data.kept_rows import PART_ROWS, KeptRows, filtered
from tempembed.data.picture_cells import PictureCells
from tempembed.data.values import as_number, as_text, conversation_text, document_text, python_rows
from tempembed.system.wording import shown

_PLACES = pa.schema({"row": pa.int64(), "line": pa.int64()})  # where a row came from; line 0: not a text file
ROW = pa.schema([*SCHEMA, pa.field(SCORE, pa.float64())])
"""What is kept of a row: the columns of pairs, and the score where rows are judged."""


class Collector:
    """Collects the good rows of one file, turned into Arrow chunk by chunk to bound the memory of Python objects.

    Args:
        name: of the file, for messages.
        faults: takes bad rows.
        folder: of the file, in which paths of pictures are looked up.
    """

    def __init__(self, *, name: str, faults: Faults, folder: Path | None = None) -> None:
        self.num_rows = 0  # rows seen, good or bad
        self._name = name
        self._faults = faults
        self._kept = KeptRows(pa.schema([*ROW, *_PLACES]))
        self._pictures = PictureCells(folder)
        self._rows: list[_CleanRow] = []
        self._places: list[tuple[int, int]] = []

    def add(self, values: Mapping[str, Any], columns: Columns, row: int, line: int = 0) -> None:
        """Add one row, or raise `BadRow`."""
        rows, right_negatives = _clean_rows(self._pictures.add(values, columns), columns)
        self._rows += rows
        self._places += [(row, line)] * len(rows)
        self._faults.right_negatives += right_negatives
        self.num_rows = row
        if len(self._rows) >= PART_ROWS:
            self._flush()

    def reject(self, bad: BadRow, row: int, line: int = 0) -> None:
        """Hand a bad row to the faults of all files."""
        self.num_rows = row
        self._faults.add(bad, self._name, row, line)

    def add_batches(self, batches: Iterable[pa.Table], columns: Columns) -> None:
        """Add batches of a file in order; bad rows go to the faults."""
        for batch in batches:
            first = self.num_rows + 1
            begins = next(python_rows(batch.slice(0, 1), columns.embedded), {})
            clean = None if self._pictures.look(begins, columns) else _clean_batch(batch, columns)
            if clean is not None:
                self._append(clean, range(first, first + len(batch)), [0] * len(batch))
                self.num_rows += len(batch)
                continue
            for row, values in enumerate(python_rows(batch, columns.names), start=first):
                try:
                    self.add(values, columns, row)
                except BadRow as bad:
                    self.reject(bad, row)
            self._flush()

    def table(self) -> pa.Table:
        """The rows so far, in the columns of `ROW`; either all have a label or none has."""
        self._flush()
        self._pictures.flush()
        table = self._kept.table()
        unlabelled = table[LABEL].null_count
        if 0 < unlabelled < len(table):
            missing = pc.is_null(table[LABEL])
            bad = BadRow("missing label", "a label, as other rows have", "none", "fill it in", column=LABEL)
            places = table.select(_PLACES.names).filter(missing).to_pylist()
            for place in places:
                self._faults.add(bad, self._name, place["row"], place["line"])
            table = filtered(table, ~missing.to_numpy())
        return table.select(ROW.names)

    def _flush(self) -> None:
        if self._rows:
            arrays = [pa.array(v, f.type) for v, f in zip(zip(*self._rows, strict=True), ROW, strict=True)]
            self._append(pa.table(arrays, schema=ROW), *zip(*self._places, strict=True))
            self._rows, self._places = [], []

    def _append(self, table: pa.Table, rows: Sequence[int], lines: Sequence[int]) -> None:
        for place, numbers in zip(_PLACES, (rows, lines), strict=True):
            table = table.append_column(place, pa.array(numbers, place.type))
        self._kept.add(table)


class _CleanRow(NamedTuple):  # a tuple, not a dataclass: made once per row of JSON Lines and CSV
    query: str
    document: str
    hard_negatives: list[str]
    label: str | None
    scores: list[float] | None
    group: str | None
    score: float | None


def _clean_rows(values: Mapping[str, Any], columns: Columns) -> tuple[list[_CleanRow], int]:
    """(the cleaned row, once for each of its documents; how many of its negatives were right answers), or `BadRow`.

    A row of one document keeps its negatives as they are; only lists of documents are compared with them.
    """
    query = _text(values.get(columns.query), columns.query)
    documents = _row_documents(values, columns)
    negatives = _row_negatives(values, columns)
    scores = _row_scores(values, columns, len(documents), len(negatives))
    kept = list(range(len(negatives)))
    if isinstance(values.get(columns.document), list):
        kept = [place for place, text in enumerate(negatives) if text not in documents]
    wrong = [negatives[place] for place in kept]
    label = _row_label(values.get(columns.label), columns.label) if columns.label else None
    group = _row_label(values.get(columns.group), columns.group) if columns.group else None
    score = _row_score(values.get(columns.score), columns.score) if columns.score else None
    rows = [
        _CleanRow(
            query, document, wrong, label, own and [own[0], *(own[1 + place] for place in kept)], group, score
        )
        for document, own in zip(documents, scores, strict=True)
    ]
    return rows, len(negatives) - len(wrong)


def _text(value: Any, column: str, item: str = "") -> str:
    read = conversation_text if MESSAGES in column else document_text
    return read(value, column, item)


def _row_documents(values: Mapping[str, Any], columns: Columns) -> list[str]:
    column = columns.document
    value = values.get(column)
    if column == MESSAGES:
        return [conversation_text(value, column, assistant=True)]
    if isinstance(value, list) and (columns.listed or column == "positive"):
        if texts := _texts(value, column):
            return texts
        raise BadRow("no document", "at least one document", "an empty list", "add one", column=column)
    return [_text(value, column)]


def _texts(value: list[Any], column: str) -> list[str]:
    """The text of each item of a list; of messages, of each conversation."""
    if (
        MESSAGES in column and value and isinstance(value[0], Mapping)
    ):  # one conversation, not in a list of its own
        return [_text(value, column)]
    return [
        _text(text, column, f" as item {number} of the list") for number, text in enumerate(value, start=1)
    ]


def _row_negatives(values: Mapping[str, Any], columns: Columns) -> list[str]:
    if columns.hard_negatives is None:
        found: list[str] = []
        for name in columns.negatives:
            value = values.get(name)
            if isinstance(value, list):
                found += _texts(value, name)
            elif not _is_absent(value):
                found.append(_text(value, name))
        return found
    value, column = values.get(columns.hard_negatives), columns.hard_negatives
    if value is None:
        return []
    if column == "rejected_response" and isinstance(value, str):
        return [_text(value, column)]
    if not isinstance(value, list):
        todo = 'write ["first", "second"]'
        expected = "a list of texts (in CSV as JSON in one cell)"
        raise BadRow("wrong type", expected, shown(value), todo, column=column)
    return _texts(value, column)


def _row_scores(
    values: Mapping[str, Any], columns: Columns, num_documents: int, num_negatives: int
) -> list[list[float] | None]:
    """For each document of a row a teacher's scores, its own and those of the negatives; None: the row has none."""
    if columns.split_scores:
        names = columns.split_scores
        of_documents, of_negatives = (
            _numbers(values.get(name), name, number, f"one for each of {number} {what}")
            for name, number, what in zip(
                names, (num_documents, num_negatives), ("documents", "hard negatives"), strict=True
            )
        )
        if of_documents is None or of_negatives is None:
            return [None] * num_documents
        return [[own, *of_negatives] for own in of_documents]
    if columns.scores is None or values.get(columns.scores) is None:
        return [None] * num_documents
    if num_documents > 1:
        expected, found = "one document in a row with scores", f"{num_documents} documents"
        raise BadRow("wrong number of scores", expected, found, "write a row for each", column=columns.scores)
    what = f"the document's, then one for each of {num_negatives} hard negatives"
    return [_numbers(values[columns.scores], columns.scores, 1 + num_negatives, what)]


def _numbers(value: Any, column: str, number: int, what: str) -> list[float] | None:
    """A list of so many numbers; None if there is none."""
    if value is None:
        return None
    expected = f"a list of {number} numbers ({what})"
    if not isinstance(value, list):
        todo = "write it so, or rename the column if it is something else"
        raise BadRow("wrong type", expected, shown(value), todo, column=column)
    if len(value) != number:
        found = f"{len(value)}, {shown(value)}"
        raise BadRow(
            "wrong number of scores", expected, found, "score every candidate, or none", column=column
        )
    return [as_number(item, column, f"a number in each of {number} places") for item in value]


def _row_label(value: Any, column: str) -> str | None:
    text = as_text(value, column)
    return None if _is_absent(text) else text


def _row_score(value: Any, column: str) -> float:
    expected = "a number (0, 1 or a score)"
    if _is_absent(value):
        raise BadRow("missing score", expected, "none", "fill it in", column=column)
    return as_number(value, column, expected)


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _clean_batch(batch: pa.Table, columns: Columns) -> pa.Table | None:
    """The batch in the columns of `ROW`, or None if any row needs `_clean_rows`."""
    if not _is_plain(batch.schema, columns):
        return None
    query, document = (_text_array(batch[name]) for name in (columns.query, columns.document))
    label, group = (
        _text_array(batch[name]) if name else pa.nulls(len(batch), TEXT)
        for name in (columns.label, columns.group)
    )
    if (
        query is None
        or document is None
        or label is None
        or group is None
        or _blank(query).any()
        or _blank(document).any()
    ):
        return None
    negatives = _negative_lists(batch, columns)
    if negatives is None:
        return None
    label, group = (
        pc.if_else(pa.array(_blank(names)), pa.scalar(None, TEXT), names) for names in (label, group)
    )
    scores = _score_lists(batch, columns, negatives)
    if scores is None:
        return None
    return pa.table(
        [query, document, negatives, label, scores, group, pa.nulls(len(batch), pa.float64())], schema=ROW
    )


def _score_lists(batch: pa.Table, columns: Columns, negatives: pa.Array) -> pa.Array | None:
    """list<float>, one list or null per row; None if any row needs `_clean_rows`."""
    type_ = SCHEMA.field(SCORES).type
    if columns.scores is None:
        return pa.nulls(len(batch), type_)
    try:
        lists = batch[columns.scores].cast(type_).combine_chunks()
    except pa.ArrowInvalid:
        return None
    lists = lists if isinstance(lists, pa.Array) else pa.concat_arrays(lists.chunks)
    lengths = pc.list_value_length(lists)
    wanted = pc.add(pc.list_value_length(negatives).fill_null(0), 1)
    numbers = lists.flatten()
    fits = pc.all(pc.equal(lengths, wanted)).as_py() in (True, None)
    is_good = numbers.null_count == 0 and np.isfinite(numbers.to_numpy(zero_copy_only=False)).all()
    return lists if fits and is_good else None


def _is_plain(schema: pa.Schema, columns: Columns) -> bool:
    """Whether all columns are text, lists of text, or whole numbers, which Arrow converts as we do."""
    texts = [schema.field(name).type for name in (columns.query, columns.document, *columns.negatives)]
    labels = [schema.field(name).type for name in (columns.label, columns.group) if name]
    lists = [schema.field(columns.hard_negatives).type] if columns.hard_negatives else []
    return (
        not columns.listed
        and columns.score is None
        and all(map(is_text, texts))
        and all(is_text(type_) or pa.types.is_integer(type_) for type_ in labels)
        and all(map(is_list_of_text, lists))
    )


def _text_array(column: pa.ChunkedArray) -> pa.Array | None:
    """The column as one array of text, or None if it is not UTF-8, which writers do not check."""
    try:
        column = column.cast(TEXT)
        column.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return column.combine_chunks()


def _blank(texts: pa.Array) -> np.ndarray:
    """For each text, whether it is null, empty or white space, as `str.strip` sees it."""
    return pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(True).to_numpy(zero_copy_only=False)


def _negative_lists(batch: pa.Table, columns: Columns) -> pa.Array | None:
    """list<large_string>, one list per row; None if any row needs `_clean_rows`."""
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
