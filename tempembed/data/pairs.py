"""Pairs of texts, the one form in which all training and test data arrive.

A row is fine, or a `_BadRow` says why not; `_clean_row` is the only place that decides. Arrow batches take a
short cut (`_clean_batch`), which gives up on a batch that is not perfect and leaves it to `_clean_row`.
"""

import csv
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tempembed.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

QUERY, DOCUMENT, HARD_NEGATIVES, LABEL = "query", "document", "hard_negatives", "label"
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")

_TEXT = pa.large_string()  # 64-bit offsets: a column may pass 2 GiB
_SCHEMA = pa.schema({QUERY: _TEXT, DOCUMENT: _TEXT, HARD_NEGATIVES: pa.list_(_TEXT), LABEL: _TEXT})
_PLACES = pa.schema({"row": pa.int64(), "line": pa.int64()})  # where a row came from; line 0: not a text file
_CHUNK_ROWS = 65_536  # rows held as Python objects at a time
_SKIP_HINT = ", or pass --skip-bad-rows to leave such rows out"
_DUPLICATE = "duplicate pair"
_BOM = b"\xef\xbb\xbf"
_HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[^:/]*)(:(?P<split>[^/]+))?)?")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Distinct pairs of a query and the document that answers it, in the order of the source."""

    table: pa.Table
    """query, document: large_string; optional hard_negatives: list<large_string>, label: large_string."""
    source: str
    """What the user gave, for messages and logs."""
    num_skipped: int = 0
    """Rows left out: duplicate pairs always, bad rows under `skip_bad_rows`."""
    skip_reasons: Mapping[str, int] = field(default_factory=dict)
    """Reason to number of rows; the values sum to `num_skipped`."""

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def queries(self) -> list[str]:
        """All queries, as a new list."""
        return self.table[QUERY].to_pylist()

    @property
    def documents(self) -> list[str]:
        """The document of each query, as a new list."""
        return self.table[DOCUMENT].to_pylist()

    @property
    def hard_negatives(self) -> list[list[str]] | None:
        """Wrong answers of each query, possibly none; None where no row has any."""
        return self.table[HARD_NEGATIVES].to_pylist() if HARD_NEGATIVES in self.table.column_names else None

    @property
    def labels(self) -> list[str] | None:
        """The label of each pair; None where the data has no labels."""
        return self.table[LABEL].to_pylist() if LABEL in self.table.column_names else None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a sha256 of all columns in row order; chunks and file format do not change it."""
        digest = hashlib.sha256()
        for name in _SCHEMA.names:
            if name in self.table.column_names:
                digest.update(name.encode() + _digest(self.table[name]))
        return digest.hexdigest()[:16]


def read_pairs(source: str, *, skip_bad_rows: bool = False) -> Pairs:
    """Read pairs from a file, a folder of files, or a `datasets` hub name.

    Texts are kept byte for byte. Of equal pairs (same query, same document) the first is kept and the others
    are counted, always: a second copy in a batch would be a negative that is right. A null or empty
    `negative_k` or `hard_negatives` means that the row has none; labels all rows have, or no row.

    Args:
        source: `.parquet`, `.jsonl`, `.ndjson`, `.json` (one object per line), `.csv`, `.tsv`, a folder of
            these (sorted by name, subfolders not read), a folder of `Dataset.save_to_disk`, or
            `org/name[:config[:split]]`, by default the split "train". An existing path wins over a hub name.
        skip_bad_rows: leave bad rows out and count them, instead of raising. Damage that hides where rows
            start (Parquet that cannot be decoded, a broken quote in CSV) still raises.

    Raises:
        UserError: names the file, and where it applies the row (from 1, header and blank lines not counted),
            the line and the column.
    """
    faults = _Faults(skip=skip_bad_rows)
    try:
        tables = _read_source(source, faults)
    except OSError as error:
        raise UserError(
            f"{source}: expected a readable file or folder, got {error}: check its permissions"
        ) from error
    table = _join(tables)
    if not table.num_rows:
        if faults.first is None:
            raise UserError(
                f"{source}: expected at least one pair, but it has no rows: give a file with pairs"
            )
        raise UserError(
            f"{source}: expected at least one good pair, but every row is bad ({_counts(faults.reasons)}). "
            f"The first: {faults.first}"
        )
    if table.num_rows > 1 and _all_same_pair(table):
        raise UserError(
            f"{source}: expected different pairs, but all {table.num_rows} rows are duplicates of one pair, "
            f"query {_shown(table[QUERY][0].as_py())}: check how the file was made"
        )
    distinct = _first_of_each_pair(table)
    if duplicates := int((~distinct).sum()):
        faults.reasons[_DUPLICATE] += duplicates
        table = table.filter(pa.array(distinct))
    return Pairs(
        table=_without_empty_columns(table),
        source=source,
        num_skipped=faults.reasons.total(),
        skip_reasons=dict(faults.reasons),
    )


def require_rows(pairs: Pairs, minimum: int, what: str) -> None:
    """Raise if there are fewer pairs than `what` needs, for one "one batch (--batch-size 512)"."""
    if len(pairs) >= minimum:
        return
    skipped = (
        f" ({pairs.num_skipped} rows left out: {_counts(pairs.skip_reasons)})" if pairs.num_skipped else ""
    )
    raise UserError(
        f"{pairs.source}: expected at least {minimum} pairs for {what}, got {len(pairs)}{skipped}: "
        f"give more data or ask for less"
    )


# Sources


def _read_source(source: str, faults: "_Faults") -> dict[str, pa.Table]:
    """One table per file, each with the columns of `_SCHEMA`."""
    if not source.strip():
        raise UserError("expected a file, a folder or a hub name with pairs, got an empty name: set --data")
    path = Path(source).expanduser()
    if path.is_dir():
        saved = ("dataset_info.json", "state.json")  # what Dataset.save_to_disk writes beside the data
        if (path / "dataset_dict.json").exists() or all((path / name).exists() for name in saved):
            return {source: _read_dataset(_load_saved(path), source, faults)}
        return {str(file): _read_file(file, faults) for file in _data_files(path)}
    if path.exists():
        return {str(path): _read_file(path, faults)}
    hub = _HUB_NAME.fullmatch(source)
    if not hub or Path(hub["name"]).suffix.lower() in SUFFIXES:
        raise UserError(
            f"{source}: no such file or folder, nor a hub name like org/name, org/name:config or "
            f"org/name:config:split: check the path"
        )
    return {source: _read_dataset(_load_hub(hub["name"], hub["config"], hub["split"]), source, faults)}


def _data_files(folder: Path) -> list[Path]:
    """The data files of a folder, by name; hidden files are not data."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() in SUFFIXES]
    if not files:
        found = f"only {_names(entry.name for entry in entries)}" if entries else "an empty folder"
        raise UserError(
            f"{folder}: expected files that end in {', '.join(SUFFIXES)}, got {found}: "
            f"give the folder that holds the files (subfolders are not read)"
        )
    return files


def _read_file(path: Path, faults: "_Faults") -> pa.Table:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: expected a file that ends in {', '.join(SUFFIXES)}, got {suffix!r}: convert it"
        )
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise UserError(f"{path}: expected pairs, got an empty file (0 bytes): check how it was made")
    collector = _Collector(name=str(path), faults=faults)
    if suffix == ".parquet":
        _read_parquet(path, start, collector)
    elif start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: expected UTF-8 text, got UTF-16: save it again as UTF-8")
    elif suffix in (".csv", ".tsv"):
        _read_csv(path, "\t" if suffix == ".tsv" else ",", collector)
    else:
        _read_json_lines(path, collector)
    return collector.table()


def _read_parquet(path: Path, start: bytes, collector: "_Collector") -> None:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        found = (
            "one that is cut off or damaged"
            if start == b"PAR1"
            else f"something else (it starts with {start!r})"
        )
        raise UserError(
            f"{path}: expected a whole Parquet file, got {found}: write or copy it again "
            f"({_first_line(error)})"
        ) from error

    def batches(names: list[str]) -> Iterator[pa.Table]:
        # Only the reading is inside `try`: an error of ours must not be reported as damage of the file.
        try:
            for batch in file.iter_batches(_CHUNK_ROWS, columns=names):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: expected a readable Parquet file, but it is damaged near row "
                f"{collector.num_rows + 1}: write or copy it again ({_first_line(error)})"
            ) from error

    with file:
        columns = _arrow_columns(file.schema_arrow, str(path))
        collector.add_batches(batches(columns.names), columns)


def _read_dataset(dataset: "Dataset", source: str, faults: "_Faults") -> pa.Table:
    columns = _arrow_columns(dataset.features.arrow_schema, source)
    collector = _Collector(name=source, faults=faults)
    selected = dataset.select_columns(columns.names).with_format("arrow")
    collector.add_batches(selected.iter(batch_size=_CHUNK_ROWS), columns)
    return collector.table()


def _load_saved(folder: Path) -> "Dataset":
    """A folder of `Dataset.save_to_disk`."""
    import datasets

    if (folder / "dataset_dict.json").exists():
        splits = _names(entry.name for entry in sorted(folder.iterdir()) if entry.is_dir())
        raise UserError(
            f"{folder}: expected one dataset, got several splits ({splits}): give {folder}/<split>"
        )
    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # as in _load_hub
        raise UserError(
            f"{folder}: expected a whole folder of Dataset.save_to_disk, got {type(error).__name__}: "
            f"{_first_line(error)}: save it again"
        ) from error


def _load_hub(name: str, config: str | None, split: str | None) -> "Dataset":
    import datasets

    try:
        return datasets.load_dataset(name, config or None, split=split or "train")
    except Exception as error:  # what its file, network and format layers raise has no common class
        raise UserError(
            f"{name}: no such file or folder, and as a dataset: the hub could not be reached, it was not "
            f"found there, or it did not load ({type(error).__name__}: {_first_line(error)}): check the "
            f"spelling, the network, and the form org/name:config:split"
        ) from error


def _read_json_lines(path: Path, collector: "_Collector") -> None:
    row, names, columns = 0, None, None
    with path.open("rb") as lines:
        for line, content in enumerate(lines, start=1):
            content = content.removeprefix(_BOM) if line == 1 else content
            if not content.strip():
                continue
            row += 1
            is_array = (
                content.lstrip().startswith(b"[")
                if path.suffix.lower() == ".json"
                else content.strip() == b"["
            )
            if row == 1 and is_array:
                raise UserError(
                    f"{path}: expected one JSON object per line, got a JSON array: write JSON Lines, for one "
                    f"with pandas.read_json(path).to_json('pairs.jsonl', orient='records', lines=True)"
                )
            try:
                values = _json_object(content)
                if columns is None or tuple(values) != names:
                    texts = [name for name, value in values.items() if isinstance(value, str)]
                    names, columns = tuple(values), _columns(list(values), texts)
                collector.add(values, columns, row, line)
            except _BadRow as bad:
                collector.reject(bad, row, line)


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        raise _BadRow("invalid UTF-8", "UTF-8", found, "save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else " (the last line; the file may be cut off)"
        # Not str(error) of a JSONDecodeError: its "line 1" would be taken for a line of the file.
        why = (
            f"{error.msg} at character {error.pos + 1}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        found = f"{_shown(line.decode().strip())}{cut}, {why}"
        raise _BadRow("line that is not JSON", "one JSON object per line", found, "write it again") from error
    if not isinstance(value, dict):
        raise _BadRow(
            "line that is not an object", "one JSON object per line", _shown(value), "write it again"
        )
    return value


def _read_csv(path: Path, delimiter: str, collector: "_Collector") -> None:
    limit = csv.field_size_limit(2**31 - 1)  # documents may be longer than the module's 128 KiB
    try:
        # surrogateescape keeps bytes that are not UTF-8 recognisable: they cost a row and not the file.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            _, header = next(_csv_records(reader, path), (1, []))
            columns = _file_columns(header, header, str(path))
            for row, (line, cells) in enumerate(_csv_records(reader, path), start=1):
                try:
                    collector.add(_csv_values(header, cells, columns), columns, row, line)
                except _BadRow as bad:
                    collector.reject(bad, row, line)
    finally:
        csv.field_size_limit(limit)


def _csv_records(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with its first line."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # where the next row starts is a guess from here on: not a row to skip
            raise UserError(
                f"{path}, line {line}: expected quotes that open and close a cell, got a record up to line "
                f"{reader.line_num} that breaks this ({error}): the file is cut off, or a quote inside a "
                f"cell is not doubled; mend it, or write JSON Lines"
            ) from error
        if cells:
            yield line, cells


def _csv_values(header: list[str], cells: list[str], columns: "_Columns") -> dict[str, Any]:
    if len(cells) != len(header):
        found = f"{len(cells)}, the first {_shown(cells[0])}"
        todo = "quote cells that hold the separator"
        raise _BadRow("wrong number of cells", f"{len(header)} cells as in the header", found, todo)
    values: dict[str, Any] = dict(zip(header, cells, strict=True))
    if columns.hard_negatives and (cell := values[columns.hard_negatives]):
        try:
            values[columns.hard_negatives] = json.loads(cell)
        except (ValueError, RecursionError):
            pass  # still text, which _clean_row reports
    elif columns.hard_negatives:
        values[columns.hard_negatives] = None
    return values


# Columns


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What the file calls our columns."""

    query: str
    document: str
    hard_negatives: str | None
    """A column of lists."""
    negatives: tuple[str, ...]
    """Columns of one hard negative each."""
    label: str | None

    @property
    def names(self) -> list[str]:
        """All of them, as the file has them."""
        optional = [name for name in (self.hard_negatives, *self.negatives, self.label) if name is not None]
        return [self.query, self.document, *optional]


def _columns(names: Sequence[str], text_names: Sequence[str]) -> _Columns:
    """Find our columns among `names`; `text_names` are those that hold text, for a suggestion."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise _BadRow("wrong columns", "each column once", f"{_names(repeated)} more than once", "rename one")
    numbered = sorted(
        (name for name in names if re.fullmatch(r"negative_[0-9]+", name)), key=lambda name: int(name[9:])
    )
    query = _one_spelling(names, QUERY, "anchor")
    document = _one_spelling(names, DOCUMENT, "positive")
    negative = _one_spelling(names, HARD_NEGATIVES, "negative", *numbered[:1])
    if query is None or document is None:
        missing = [name for name, found in ((QUERY, query), (DOCUMENT, document)) if found is None]
        spare = [name for name in text_names if name not in (query, document)]
        todo = "rename the columns"
        if len(text_names) == 2 and len(spare) == len(missing):
            todo = "rename " + " and ".join(
                f"{old!r} to {new!r}" for old, new in zip(spare, missing, strict=True)
            )
        expected = (
            f"columns {QUERY!r} and {DOCUMENT!r} (or 'anchor' and 'positive'), optionally {HARD_NEGATIVES!r} "
            f"or 'negative_1', 'negative_2', ... and {LABEL!r}"
        )
        found = f"no {' and no '.join(map(repr, missing))} among {_names(names)}"
        raise _BadRow("wrong columns", expected, found, todo)
    return _Columns(
        query=query,
        document=document,
        hard_negatives=HARD_NEGATIVES if negative == HARD_NEGATIVES else None,
        negatives=("negative",) if negative == "negative" else tuple(numbered),
        label=LABEL if LABEL in names else None,
    )


def _one_spelling(names: Sequence[str], *spellings: str) -> str | None:
    present = [name for name in spellings if name in names]
    if len(present) > 1:
        found = " and ".join(map(repr, present))
        raise _BadRow("wrong columns", f"one of {_names(spellings)}", f"both {found}", "remove or rename one")
    return present[0] if present else None


def _file_columns(names: Sequence[str], text_names: Sequence[str], name: str) -> _Columns:
    """`_columns` of a file that states them once, where no row can be skipped to mend them."""
    try:
        return _columns(names, text_names)
    except _BadRow as bad:
        raise UserError(f"{name}: {bad.message}") from bad


def _arrow_columns(schema: pa.Schema, name: str) -> _Columns:
    """Columns of an Arrow schema, their types checked: a type is wrong for all rows or for none."""
    columns = _file_columns(schema.names, [column.name for column in schema if _is_text(column.type)], name)
    for column in columns.names:
        type_ = schema.field(column).type
        expected, fits = "text", _is_text(type_)
        if column == columns.hard_negatives:
            expected, fits = "lists of text", _is_list_of_text(type_)
        elif column == columns.label:
            expected, fits = "text or whole numbers", fits or pa.types.is_integer(type_)
        if not fits:
            raise UserError(
                f"{name}, column {column!r}: expected {expected} in every row, got {type_} from row 1 on: "
                f"write the column as {expected}, or rename it if it is something else"
            )
    return columns


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return text or pa.types.is_null(type_)  # a column of nulls only: the rows are bad, not the type


def _is_list_of_text(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return pa.types.is_null(type_) or (any(kind(type_) for kind in kinds) and _is_text(type_.value_type))


# Rows


class _BadRow(Exception):
    """Why a row cannot be kept."""

    def __init__(
        self, reason: str, expected: str, found: str, todo: str, *, column: str | None = None
    ) -> None:
        self.reason = f"{reason} in {column}" if column else reason
        self.column = column
        self.message = f"expected {expected}, got {found}: {todo}"


class _CleanRow(NamedTuple):  # a tuple, not a dataclass: made once per row of JSON Lines and CSV
    query: str
    document: str
    hard_negatives: list[str]
    label: str | None


def _clean_row(values: Mapping[str, Any], columns: _Columns) -> _CleanRow:
    """The row in our columns, or `_BadRow`."""
    return _CleanRow(
        query=_text(values.get(columns.query), columns.query),
        document=_text(values.get(columns.document), columns.document),
        hard_negatives=_row_negatives(values, columns),
        label=_row_label(values.get(columns.label), columns.label) if columns.label else None,
    )


def _text(value: Any, column: str, item: str = "") -> str:
    if value is None:
        raise _BadRow("missing text", f"text{item}", "nothing (null)", "fill it in", column=column)
    if not isinstance(value, str):
        raise _BadRow("wrong type", f"text{item}", _shown(value), "write it as text", column=column)
    if not value.strip():
        raise _BadRow("empty text", f"text{item}", f"{_shown(value)} (empty)", "fill it in", column=column)
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
            raise _BadRow(
                "invalid UTF-8", f"UTF-8{item}", found, "save the data as UTF-8", column=column
            ) from error
    return value


def _row_negatives(values: Mapping[str, Any], columns: _Columns) -> list[str]:
    if columns.hard_negatives is None:
        found = [(values.get(name), name) for name in columns.negatives]
        return [_text(value, name) for value, name in found if not _is_absent(value)]
    value = values.get(columns.hard_negatives)
    if value is None:
        return []
    if not isinstance(value, list):
        todo = 'write ["first", "second"]'
        expected = "a list of texts (in CSV as JSON in one cell)"
        raise _BadRow("wrong type", expected, _shown(value), todo, column=columns.hard_negatives)
    return [
        _text(text, columns.hard_negatives, f" as item {number} of the list")
        for number, text in enumerate(value, start=1)
    ]


def _row_label(value: Any, column: str) -> str | None:
    if _is_absent(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _BadRow(
            "wrong type", "text or a whole number", _shown(value), "write it as text", column=column
        )
    return _text(value, column)


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _clean_batch(batch: pa.Table, columns: _Columns) -> pa.Table | None:
    """The batch in our columns, or None if any of its rows needs `_clean_row`."""
    query, document = (_text_array(batch[name]) for name in (columns.query, columns.document))
    label = _text_array(batch[columns.label]) if columns.label else pa.nulls(len(batch), _TEXT)
    if query is None or document is None or label is None or _blank(query).any() or _blank(document).any():
        return None
    negatives = _negative_lists(batch, columns)
    if negatives is None:
        return None
    label = pc.if_else(pa.array(_blank(label)), pa.scalar(None, _TEXT), label)
    return pa.table([query, document, negatives, label], schema=_SCHEMA)


def _text_array(column: pa.ChunkedArray) -> pa.Array | None:
    """The column as one array of text, or None if it is not UTF-8 (writers do not check)."""
    try:
        column = column.cast(_TEXT)
        column.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return column.combine_chunks()


def _blank(texts: pa.Array) -> np.ndarray:
    """Whether each is null, empty or white space, by the same rule as `str.strip`."""
    return pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(True).to_numpy(zero_copy_only=False)


def _negative_lists(batch: pa.Table, columns: _Columns) -> pa.Array | None:
    """list<large_string>, one list per row; None if any row needs `_clean_row`."""
    num_rows = len(batch)
    if columns.hard_negatives:
        lists = batch[columns.hard_negatives].cast(_SCHEMA.field(HARD_NEGATIVES).type).combine_chunks()
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
        texts = pa.concat_arrays([pa.array([], _TEXT), *arrays]).take(pa.array(column * num_rows + row))
        counts = present.sum(axis=0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts)


def _python_rows(batch: pa.Table, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    columns = [_python_values(batch[name]) for name in names]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        pass

    def decoded(value: Any) -> Any:
        if isinstance(value, list):
            return [decoded(item) for item in value]
        return value if value is None else value.decode("utf-8", "surrogateescape")

    is_text = _is_text(column.type)
    text, binary = (_TEXT, pa.large_binary()) if is_text else (pa.list_(_TEXT), pa.list_(pa.large_binary()))
    return [decoded(value) for value in column.cast(text).cast(binary).to_pylist()]


# Collecting


class _Faults:
    """Bad rows of all files: raised at once, or counted by reason."""

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.reasons: Counter[str] = Counter()
        self.first: str | None = None

    def add(self, bad: _BadRow, name: str, row: int, line: int) -> None:
        place = (
            f"row {row}"
            + (f" (line {line})" if line else "")
            + (f", column {bad.column!r}" if bad.column else "")
        )
        message = f"{name}, {place}: {bad.message}"
        if not self.skip:
            raise UserError(message + _SKIP_HINT) from bad
        self.first = self.first or message
        self.reasons[bad.reason] += 1


class _Collector:
    """The good rows of one file, turned into Arrow chunk by chunk to bound what Python objects take."""

    def __init__(self, *, name: str, faults: _Faults) -> None:
        self.num_rows = 0  # rows seen, good or bad
        self._name = name
        self._faults = faults
        self._tables: list[pa.Table] = []
        self._rows: list[_CleanRow] = []
        self._places: list[tuple[int, int]] = []

    def add(self, values: Mapping[str, Any], columns: _Columns, row: int, line: int = 0) -> None:
        self._rows.append(_clean_row(values, columns))
        self._places.append((row, line))
        self.num_rows = row
        if len(self._rows) >= _CHUNK_ROWS:
            self._flush()

    def reject(self, bad: _BadRow, row: int, line: int = 0) -> None:
        self.num_rows = row
        self._faults.add(bad, self._name, row, line)

    def add_batches(self, batches: Iterable[pa.Table], columns: _Columns) -> None:
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
                except _BadRow as bad:
                    self.reject(bad, row)
            self._flush()

    def table(self) -> pa.Table:
        """The rows so far, in the columns of `_SCHEMA`; either all have a label or none has."""
        self._flush()
        schema = pa.schema([*_SCHEMA, *_PLACES])
        table = pa.concat_tables([schema.empty_table(), *self._tables])
        unlabelled = table[LABEL].null_count
        if 0 < unlabelled < len(table):
            missing = pc.is_null(table[LABEL])
            bad = _BadRow("missing label", "a label, as other rows have", "none", "fill it in", column=LABEL)
            places = table.select(_PLACES.names).filter(missing).to_pylist()
            for place in places:
                self._faults.add(bad, self._name, place["row"], place["line"])
            table = table.filter(pc.invert(missing))
        return table.select(_SCHEMA.names)

    def _flush(self) -> None:
        if self._rows:
            arrays = [
                pa.array(v, f.type) for v, f in zip(zip(*self._rows, strict=True), _SCHEMA, strict=True)
            ]
            self._append(pa.table(arrays, schema=_SCHEMA), *zip(*self._places, strict=True))
            self._rows, self._places = [], []

    def _append(self, table: pa.Table, rows: Sequence[int], lines: Sequence[int]) -> None:
        for place, numbers in zip(_PLACES, (rows, lines), strict=True):
            table = table.append_column(place, pa.array(numbers, place.type))
        self._tables.append(table)


# All rows


def _join(tables: Mapping[str, pa.Table]) -> pa.Table:
    filled = {name: table for name, table in tables.items() if table.num_rows}
    unlabelled = [name for name, table in filled.items() if table[LABEL].null_count]
    if 0 < len(unlabelled) < len(filled):
        labelled = next(name for name in filled if name not in unlabelled)
        raise UserError(
            f"{unlabelled[0]}: expected a column {LABEL!r} as in {labelled}, got none: "
            f"add labels to all files or remove them from all"
        )
    return pa.concat_tables([_SCHEMA.empty_table(), *filled.values()])


def _without_empty_columns(table: pa.Table) -> pa.Table:
    """Columns that say nothing are left out, so that a column of nulls equals no column."""
    if not pc.sum(pc.list_value_length(table[HARD_NEGATIVES])).as_py():
        table = table.drop_columns(HARD_NEGATIVES)
    return table.drop_columns(LABEL) if table[LABEL].null_count else table


def _each_pair(table: pa.Table) -> Iterator[tuple[str, str]]:
    for batch in table.select([QUERY, DOCUMENT]).to_batches(_CHUNK_ROWS):
        yield from zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True)


def _all_same_pair(table: pa.Table) -> bool:
    stripped = ((query.strip(), document.strip()) for query, document in _each_pair(table))
    first = next(stripped)
    return all(pair == first for pair in stripped)


def _first_of_each_pair(table: pa.Table) -> np.ndarray:
    """False for later copies of a pair. Hashes find candidates in 8 bytes a row; texts decide."""
    hashes = np.fromiter(map(hash, _each_pair(table)), np.int64, count=len(table))
    _, group, size = np.unique(hashes, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero(size[group] > 1)
    keep = np.ones(len(table), bool)
    seen: set[tuple[str, str]] = set()
    for row, pair in zip(candidates, _each_pair(table.take(pa.array(candidates))), strict=True):
        keep[row] = pair not in seen
        seen.add(pair)
    return keep


def _digest(column: pa.ChunkedArray) -> bytes:
    """Lengths and contents as two streams, so that neither chunks nor the width of Arrow's offsets show."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    if not _is_text(column.type):
        for chunk in column.chunks:
            lengths.update(_int64_bytes(pc.list_value_length(chunk).fill_null(0)))
        items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        return lengths.digest() + _digest(items)
    for chunk in column.cast(_TEXT).chunks:
        lengths.update(_int64_bytes(pc.binary_length(chunk).fill_null(-1)))
        texts = chunk.drop_null()
        if len(texts):
            _, offsets, data = texts.buffers()
            ends = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
            content.update(data.slice(ends[0], ends[1] - ends[0]) if data else b"")
    return lengths.digest() + content.digest()


def _int64_bytes(numbers: pa.Array) -> bytes:
    return numbers.to_numpy(zero_copy_only=False).astype("<i8").tobytes()


# Wording


def _shown(value: Any) -> str:
    """A short form of a value and of its type, for a message."""
    text = repr(value[:80] if isinstance(value, str) else value)
    kinds = {bool: "true/false", int: "number", float: "number", list: "list", dict: "object"}
    kind = f" ({kinds[type(value)]})" if type(value) in kinds else ""
    return (text if len(text) <= 60 else f"{text[:57]}...") + kind


def _names(names: Iterable[str]) -> str:
    """At most ten names, quoted."""
    first = list(itertools.islice(names, 11))
    if not first:
        return "none"
    return ", ".join(_shown(name) for name in first[:10]) + (", ..." if len(first) > 10 else "")


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.items())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
