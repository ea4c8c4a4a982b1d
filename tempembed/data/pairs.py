"""Pairs of texts, the one form in which all training and test data arrive: read, checked row by row."""

import csv
import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.errors import UserError

SYNONYMS = {"anchor": "query", "positive": "document"}  # sentence-transformers' spellings
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
EXPECTED = "query and document (or anchor and positive), optional hard_negatives or negative_1 ... negative_n, optional label"
HINT = "correct it, or pass --skip-bad-rows to leave such rows out"
NEGATIVE = re.compile(r"negative(?:_(\d+))?")

Row = tuple[str, str, list[str], str | None]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Checked pairs. No text is empty, no pair stands twice; texts are kept byte for byte."""

    table: pa.Table
    """Columns query, document: large_string; optional hard_negatives: list of it; optional label: large_string."""
    source: str
    """What the user gave."""
    num_skipped: int = 0
    """Rows left out: bad ones under skip_bad_rows, and repeated pairs always (one would be the other's false negative)."""
    skip_reasons: Mapping[str, int] = field(default_factory=dict)
    """How many rows for each reason."""

    def __len__(self) -> int:
        return self.table.num_rows

    def _column(self, name: str) -> list[Any] | None:
        return self.table[name].to_pylist() if name in self.table.column_names else None

    @cached_property
    def queries(self) -> list[str]:
        """The queries."""
        return self.table["query"].to_pylist()

    @cached_property
    def documents(self) -> list[str]:
        """The document of each query."""
        return self.table["document"].to_pylist()

    @cached_property
    def hard_negatives(self) -> list[list[str]] | None:
        """For each row, documents that are mined wrong answers; rows may have different numbers of them."""
        return self._column("hard_negatives")

    @cached_property
    def labels(self) -> list[str | None] | None:
        """What to cluster by."""
        return self._column("label")

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over all values in order, the same for the same content in any file format."""
        digest = hashlib.sha256()
        for name in sorted(self.table.column_names):
            digest.update(name.encode() + b"\0")
            for value in self.table[name].to_pylist():
                values = [] if value is None else value if isinstance(value, list) else [value]
                digest.update(struct.pack("<q", -1 if value is None else len(values)))
                for text in values:
                    encoded = text.encode()
                    digest.update(struct.pack("<q", len(encoded)) + encoded)
        return digest.hexdigest()[:16]


def require_rows(pairs: Pairs, minimum: int, what: str) -> None:
    """Raise if there are fewer pairs than `what` needs."""
    if len(pairs) < minimum:
        raise UserError(
            f"{pairs.source}: expected at least {minimum} pairs for {what}, got {len(pairs)}; "
            "lower --batch-size or give more data"
        )


class _BadRow(Exception):
    """A row that --skip-bad-rows may leave out: reason for the count, message for the user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_pairs(source: str, *, skip_bad_rows: bool = False) -> Pairs:
    """Read pairs from a Parquet, JSON Lines or CSV file, a folder of them, or a `datasets` hub name.

    A hub name is `name`, `name:config` or `name:config:split`; the split is `train` unless given.

    Raises:
        UserError: names file, row (from 1) and column, what was expected and what was found.
    """
    path = Path(source)
    if path.is_dir() and not (path / "dataset_info.json").exists():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise UserError(
                f"{source}: expected files that end in {', '.join(SUFFIXES)}, found none of them in the folder"
            )
    elif path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{source}: expected a file that ends in {', '.join(SUFFIXES)}, got {path.suffix or 'no ending'!r}"
            )
        files = [path]
    else:
        files = []
    reasons: Counter[str] = Counter()
    rows: list[Row] = []
    seen: set[bytes] = set()
    labelled: dict[str, bool] = {}
    for name, number, where, raw in _read_all(files, source):
        try:
            if isinstance(raw, _BadRow):
                raise raw
            row = _check(raw, number, where, files or [Path(source)])
        except _BadRow as error:
            if not skip_bad_rows:
                raise UserError(f"{error}; {HINT}") from None
            reasons[error.reason] += 1
            continue
        labelled[name] = labelled.get(name, True) and row[3] is not None
        key = hashlib.blake2b(
            f"{len(row[0])}\0{row[0]}{row[1]}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        if key in seen:
            reasons["duplicate pair"] += 1
            continue
        seen.add(key)
        rows.append(row)
    if not rows:
        found = f"{sum(reasons.values())} bad ({dict(reasons)})" if reasons else "no rows at all"
        raise UserError(
            f"{source}: expected rows with {EXPECTED}, found {found}; check that this is the right file"
        )
    if len(rows) == 1 and reasons["duplicate pair"]:
        raise UserError(
            f"{source}: expected different pairs, found the same pair in all {reasons['duplicate pair'] + 1} rows; "
            "contrastive training needs other documents as negatives"
        )
    if any(labelled.values()) and not all(labelled.values()):
        missing = next(name for name, has in labelled.items() if not has)
        raise UserError(
            f"{missing}: column 'label': expected a label in every row of every file or in none, found rows without"
        )
    return Pairs(
        table=_table(rows), source=source, num_skipped=sum(reasons.values()), skip_reasons=dict(reasons)
    )


def _table(rows: list[Row]) -> pa.Table:
    text = pa.large_string()
    queries, documents, negatives, labels = zip(*rows, strict=True)
    columns = {"query": pa.array(queries, text), "document": pa.array(documents, text)}
    if any(negatives):
        columns["hard_negatives"] = pa.array(negatives, pa.list_(text))
    if labels[0] is not None:
        columns["label"] = pa.array(labels, text)
    return pa.table(columns)


def _read_all(files: list[Path], source: str) -> Iterator[tuple[str, int, str, Any]]:
    """(file, row number, place for messages, raw row or _BadRow) of every row."""
    if not files:
        rows: Iterator[tuple[int, str, Any]] = _read_hub(source)
        yield from ((source, number, f"{source}: {place}", raw) for number, place, raw in rows)
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"{file}: expected pairs, found an empty file")
        suffix = file.suffix.lower()
        if suffix == ".parquet":
            rows = _read_parquet(file)
        elif suffix in (".csv", ".tsv"):
            rows = _read_csv(file, "\t" if suffix == ".tsv" else ",")
        else:
            rows = _read_json_lines(file)
        yield from ((str(file), number, f"{file}: {place}", raw) for number, place, raw in rows)


def _check(raw: Mapping[str, Any], number: int, where: str, files: list[Path]) -> Row:
    names = _names(tuple(raw), where)
    query = _text(raw[names["query"]], names["query"], where)
    document = _text(raw[names["document"]], names["document"], where)
    negatives: list[str] = []
    if "hard_negatives" in raw and raw["hard_negatives"] is not None:
        values = raw["hard_negatives"]
        if not isinstance(values, list):
            raise _BadRow(
                "wrong type",
                f"{where}, column 'hard_negatives': expected a list of texts, got {_show(values)}",
            )
        negatives = [_text(value, "hard_negatives", where) for value in values]
    for column in sorted(
        (c for c in raw if NEGATIVE.fullmatch(c)), key=lambda c: int(c.partition("_")[2] or 0)
    ):
        value = raw[column]
        if value is not None and not (isinstance(value, str) and not value.strip()):  # absent is allowed
            negatives.append(_text(value, column, where))
    label = raw.get("label")
    if label is not None:
        if (
            isinstance(label, bool)
            or not isinstance(label, str | int)
            or (isinstance(label, str) and not label.strip())
        ):
            raise _BadRow(
                "wrong type", f"{where}, column 'label': expected a text or an integer, got {_show(label)}"
            )
        label = str(label)
    return query, document, negatives, label


def _names(columns: tuple[str, ...], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for column in columns:
        name = SYNONYMS.get(column, column)
        if name in ("query", "document"):
            if name in found:
                raise UserError(
                    f"{where}: expected one column for the {name}, found both {found[name]!r} and {column!r}; remove one"
                )
            found[name] = column
    if len(found) < 2:
        missing = " and ".join(name for name in ("query", "document") if name not in found)
        advice = (
            f"; rename {columns[0]!r} and {columns[1]!r}?" if len(columns) == 2 else "; rename the columns"
        )
        raise _BadRow(
            "wrong columns",
            f"{where}: expected the columns {EXPECTED}, found {list(columns)}, so {missing} is missing{advice}",
        )
    return found


def _text(value: Any, column: str, where: str) -> str:
    place = f"{where}, column {column!r}"
    if value is None:
        raise _BadRow("missing text", f"{place}: expected a text, got nothing (null)")
    if not isinstance(value, str):
        raise _BadRow("wrong type", f"{place}: expected a text, got {_show(value)}")
    if not value.strip():
        raise _BadRow("empty text", f"{place}: expected a text, got an empty one ({value[:20]!r})")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BadRow(
            "bad encoding", f"{place}: expected valid Unicode, got a lone surrogate in {value[:40]!r}"
        ) from None
    return value


def _show(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"


def _read_parquet(file: Path) -> Iterator[tuple[int, str, Any]]:
    try:
        parquet = pq.ParquetFile(file)
        number = 0
        for batch in parquet.iter_batches(batch_size=8192):
            for raw in batch.to_pylist():
                number += 1
                yield number, f"row {number}", raw
    except (pa.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0][:200]
        raise UserError(
            f"{file}: expected a whole Parquet file, found a truncated or damaged one ({detail}); copy it again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: row group after row {number}: expected UTF-8 text, got {error}; write it again"
        ) from error


def _decoded_lines(file: Path) -> Iterator[tuple[int, str | _BadRow]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                yield (
                    number,
                    _BadRow(
                        "bad encoding",
                        f"{file}: line {number}: expected UTF-8, got the byte 0x{line[error.start]:02x} at byte {error.start} of the line; "
                        "convert the file to UTF-8",
                    ),
                )


def _read_json_lines(file: Path) -> Iterator[tuple[int, str, Any]]:
    number = 0
    for line_number, line in _decoded_lines(file):
        if isinstance(line, str) and not line.strip():
            continue
        number += 1
        place = f"row {number} (line {line_number})"
        if isinstance(line, _BadRow):
            yield number, place, line
            continue
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as error:
            if line_number == 1 and line.strip() == "[":
                raise UserError(
                    f"{file}: expected JSON Lines, one object a line, found a JSON array; write it with one object a line"
                ) from None
            cut = (
                "; the last line has no end, so the file may be truncated" if not line.endswith("\n") else ""
            )
            yield (
                number,
                place,
                _BadRow(
                    "not JSON",
                    f"{file}: {place}: expected a JSON object, got {line.strip()[:60]!r} ({error}){cut}",
                ),
            )
            continue
        if not isinstance(raw, dict):
            yield (
                number,
                place,
                _BadRow("not an object", f"{file}: {place}: expected a JSON object, got {_show(raw)}"),
            )
            continue
        yield number, place, raw


def _read_csv(file: Path, delimiter: str) -> Iterator[tuple[int, str, Any]]:
    csv.field_size_limit(1 << 27)

    def lines() -> Iterator[str]:
        for _, line in _decoded_lines(file):
            if isinstance(line, _BadRow):
                raise UserError(f"{line}")  # a CSV row may span lines, so one cannot be left out
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
        if len(set(header)) < len(header):
            raise UserError(f"{file}: expected each column once in the header, got {header}")
        for number, cells in enumerate(reader, 1):
            if not cells:
                continue
            place = f"row {number} (line {reader.line_num})"
            if len(cells) != len(header):
                yield (
                    number,
                    place,
                    _BadRow(
                        "ragged row",
                        f"{file}: {place}: expected {len(header)} cells as in the header, got {len(cells)}; quote cells that hold {delimiter!r}",
                    ),
                )
                continue
            raw: dict[str, Any] = dict(zip(header, cells, strict=True))
            if raw.get("label") == "":
                raw["label"] = None
            if "hard_negatives" in raw:
                try:
                    raw["hard_negatives"] = json.loads(raw["hard_negatives"] or "[]")
                except ValueError:
                    yield (
                        number,
                        place,
                        _BadRow(
                            "wrong type",
                            f"{file}: {place}, column 'hard_negatives': expected a JSON list in the cell, got {_show(raw['hard_negatives'])}",
                        ),
                    )
                    continue
            yield number, place, raw
    except csv.Error as error:
        raise UserError(
            f"{file}: line {reader.line_num}: expected CSV, got {error}; the file may be truncated in a quoted cell"
        ) from error


def _read_hub(source: str) -> Iterator[tuple[int, str, Any]]:
    import datasets

    name, _, rest = source.partition(":")
    config, _, split = rest.partition(":")
    try:
        if Path(name).is_dir():
            dataset = datasets.load_from_disk(name)
        elif re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and Path(name).suffix.lower() not in SUFFIXES:
            dataset = datasets.load_dataset(name, config or None, split=split or "train")
        else:
            raise UserError(
                f"{source}: expected a file, a folder or the name of a data set on the hub, found no such file"
            )
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{source}: expected a file, a folder or the name of a data set on the hub; there is no such file, and the "
            f"hub does not know it or cannot be reached ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
        ) from error
    for number, raw in enumerate(dataset, 1):
        yield number, f"row {number}", raw
