"""One reader for the rows of a file, whatever its format: of pairs, of tasks and of texts.

Every cell of CSV and TSV is text. Values of JSON and Parquet keep their types; `values` converts them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tempembed.data.bad_rows import BadRow
from tempembed.data.bounds import is_packed, open_bytes
from tempembed.data.delimited import other_separator, separated_records
from tempembed.data.encoding import START_BYTES, is_utf16
from tempembed.data.json_lines import byte_lines, json_records
from tempembed.data.parquet import open_parquet, parquet_batches
from tempembed.data.values import python_rows
from tempembed.system.errors import UserError
from tempembed.system.wording import first_line, shown

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Suffixes of files with rows; each file may be packed too, as .jsonl.gz."""
JSON = (".jsonl", ".ndjson", ".json")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT = "text"
"""The only column of a .txt file: its lines."""
BATCH_ROWS = 4096

Record = tuple[int, int, dict[str, Any] | BadRow]
"""Number of the row (from 1; header and blank lines not counted), number of the line (0 where the file has no lines),
and the values, or what is wrong with them."""


def kind_of(path: Path) -> str:
    """The suffix that names the format, in lower case and without .gz.

    >>> kind_of(Path("pairs.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.stem).suffix.lower() if is_packed(path) else path.suffix.lower()


@dataclass(frozen=True, kw_only=True)
class Table:
    """An open file of rows."""

    names: list[str] | None
    """Names of the columns; None where each line of JSON has its own."""
    rows: Callable[[Sequence[str]], Iterator[Record]]
    """All rows, once; of Parquet only the columns that are named are read."""
    types: pa.Schema | None = None
    """Types of the columns; Parquet only."""
    hint: str = ""
    """Addition to messages: another separator that the columns seem to have."""


@contextmanager
def open_table(path: Path, *, kept: bool) -> Iterator[Table]:
    """Open a file in the format that its name says.

    Args:
        path: ends in one of `SUFFIXES` or in .txt, perhaps with .gz.
        kept: whether the caller keeps all rows, or one at a time.

    Raises:
        UserError: no plain file, UTF-16, damaged, or too large.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        with open_parquet(path) as parquet:
            schema = parquet.file.schema_arrow
            batches = partial(parquet_batches, parquet, rows=BATCH_ROWS, kept=kept)
            yield Table(
                names=schema.names,
                types=schema,
                rows=lambda names: _batch_rows(batches(list(names)), names, path),
            )
        return
    check_utf8_file(path)
    if kind in DELIMITERS:
        with closing(separated_records(path, DELIMITERS[kind], kept=kept)) as records:
            _, header = next(records, (1, []))
            hint = other_separator(header, DELIMITERS[kind])
            yield Table(names=header, rows=lambda _: _cell_rows(records, header), hint=hint)
    elif kind in JSON:
        yield Table(names=None, rows=lambda _: _numbered(json_records(path, kept=kept)))
    else:
        yield Table(names=[TEXT], rows=lambda _: _numbered(_line_texts(path, kept=kept)))


def check_utf8_file(path: Path) -> None:
    """Raise UserError if a file of text is UTF-16."""
    if is_utf16(first_bytes(path)):
        raise UserError(f"{path}: expected UTF-8 text, got UTF-16: save it again as UTF-8")


def first_bytes(path: Path) -> bytes:
    """The first bytes, unpacked, which show how a file is encoded."""
    with open_bytes(path, kept=False) as file:
        return file.read(START_BYTES)


def _numbered(records: Iterator[tuple[int, dict[str, Any] | BadRow]]) -> Iterator[Record]:
    for row, (line, values) in enumerate(records, start=1):
        yield row, line, values


def _line_texts(path: Path, *, kept: bool) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for line, content in byte_lines(path, kept=kept):
        if isinstance(content, BadRow):
            yield line, content
        else:
            yield line, {TEXT: content.decode("utf-8", "surrogateescape").rstrip("\r\n")}


def _cell_rows(records: Iterator[tuple[int, list[str]]], header: list[str]) -> Iterator[Record]:
    for row, (line, cells) in enumerate(records, start=1):
        if len(cells) == len(header):
            yield row, line, dict(zip(header, cells, strict=True))
        else:
            found = f"{len(cells)}, the first {shown(cells[0])}"
            todo = "quote cells that hold the separator"
            expected = f"{len(header)} cells as in the header"
            yield row, line, BadRow("wrong number of cells", expected, found, todo)


def _batch_rows(batches: Iterator[pa.Table], names: Sequence[str], path: Path) -> Iterator[Record]:
    row = 0
    for batch in batches:
        try:
            values = list(python_rows(batch, names))
        except (pa.ArrowException, ValueError, OverflowError) as error:  # years beyond 9999
            raise UserError(
                f"{path}: expected values that can be read, got others from row {row + 1} on "
                f"({first_line(error)}): write them as text"
            ) from error
        for each in values:
            row += 1
            yield row, 0, each
