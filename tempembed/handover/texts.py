"""Texts to search in: one file, read in chunks, never held whole."""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tempembed.data.bounds import csv_lines, lines, open_parquet, parquet_batches
from tempembed.data.columns import is_text, one_spelling
from tempembed.data.faults import BadRow
from tempembed.data.files import BOM, csv_records, json_object
from tempembed.data.rows import checked_text, python_values
from tempembed.data.wording import quoted
from tempembed.errors import UserError
from tempembed.settings import INSTALLED_CODE
from tempembed.untrusted import is_file

COLUMNS = ("text", "document")
SUFFIXES = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A file of texts. A row's number counts from 1, header and blank lines left out."""

    source: str
    """What the user gave."""
    path: Path
    fingerprint: str
    """16 hex digits of the file's bytes."""

    def chunks(self) -> Iterator[list[str]]:
        """All texts in order, 4,096 or 4 million characters at a time.

        Raises:
            UserError: a row without text, by file and row; no column of texts; no texts at all.
        """
        suffix = self.path.suffix.lower()
        if suffix == ".parquet":
            rows = _parquet_rows(self.path)
        elif suffix in (".csv", ".tsv"):
            rows = _csv_rows(self.path, "\t" if suffix == ".tsv" else ",")
        else:
            rows = _line_rows(self.path, as_json=suffix != ".txt")
        chunk: list[str] = []
        characters = num = 0
        for text in rows:
            num += 1
            chunk.append(text)
            characters += len(text)
            if len(chunk) == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
        if chunk:
            yield chunk
        if not num:
            raise UserError(f"{self.path}: expected texts, got none; give a file with at least one")


def open_texts(source: str, say: Callable[[str], None] = lambda _: None) -> Texts:
    """A file whose name says what it is: .txt (a text a line), JSON Lines, CSV or Parquet (a column text or document).

    Args:
        source: the file; or installed-code, the test documents of the embedded corpus.
        say: takes lines of progress.

    Raises:
        UserError: no such file, or of another kind.
    """
    if source == INSTALLED_CODE:
        from tempembed.data.installed_code import installed_code

        path = installed_code(progress=say).test
    else:
        path = Path(source)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{source}: expected {INSTALLED_CODE} or a file that ends in {', '.join(SUFFIXES)}, got "
            f"{path.suffix!r}; convert it"
        )
    if not is_file(path):
        raise UserError(f"{source}: expected a file of texts, found no such file; check the path")
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{source}: expected UTF-8 text, got UTF-16; save it again as UTF-8")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Texts(source=source, path=path, fingerprint=digest)


def _line_rows(path: Path, *, as_json: bool) -> Iterator[str]:
    row = 0
    with path.open("rb") as file:
        for line, content in enumerate(lines(file, str(path)), start=1):
            content = content.removeprefix(BOM) if line == 1 else content
            if not content.strip():
                continue
            row += 1
            try:
                if not as_json:
                    yield checked_text(content.decode("utf-8", "surrogateescape").rstrip("\r\n"), "text")
                    continue
                values = json_object(content)
                column = _column(list(values))
                yield checked_text(values[column], column)
            except BadRow as bad:
                raise _at(path, row, bad, line) from bad


def _csv_rows(path: Path, delimiter: str) -> Iterator[str]:
    with csv_lines(path) as file:
        records = csv_records(csv.reader(file, delimiter=delimiter, strict=True), path)
        _, header = next(records, (1, []))
        column = _file_column(header, path)
        place = header.index(column)
        for row, (line, cells) in enumerate(records, start=1):
            try:
                if len(cells) != len(header):
                    expected = f"{len(header)} cells as in the header"
                    raise BadRow("", expected, f"{len(cells)}", "quote cells that hold the separator")
                yield checked_text(cells[place], column)
            except BadRow as bad:
                raise _at(path, row, bad, line) from bad


def _parquet_rows(path: Path) -> Iterator[str]:
    with open_parquet(path) as file:
        column = _file_column(file.schema_arrow.names, path)
        kind = file.schema_arrow.field(column).type
        if not is_text(kind):
            raise UserError(f"{path}, column {column!r}: expected text, got {kind}; write the column as text")
        row = 0
        for batch in parquet_batches(path, file, [column], CHUNK_TEXTS, kept=False):
            for value in python_values(batch[column]):
                row += 1
                try:
                    yield checked_text(value, column)
                except BadRow as bad:
                    raise _at(path, row, bad) from bad


def _column(names: Sequence[str]) -> str:
    """The one of the names that holds the texts, or BadRow."""
    found = one_spelling(names, *COLUMNS)
    if found is None:
        raise BadRow(
            "", f"a column {' or '.join(map(repr, COLUMNS))}", quoted(names), "rename the one with the texts"
        )
    return found


def _file_column(names: Sequence[str], path: Path) -> str:
    try:
        column = _column(names)
    except BadRow as bad:
        raise UserError(f"{path}: {bad.message}") from bad
    if list(names).count(column) > 1:
        raise UserError(f"{path}: expected a column {column!r}, got it more than once: rename one")
    return column


def _at(path: Path, row: int, bad: BadRow, line: int = 0) -> UserError:
    where = f" (line {line})" if line else ""
    column = f", column {bad.column!r}" if bad.column else ""
    return UserError(f"{path}, row {row}{where}{column}: {bad.message}")
