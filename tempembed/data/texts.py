"""Texts to search in: one file, read in chunks and never held in whole."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tempembed.data import records
from tempembed.data.bad_rows import BadRow
from tempembed.data.columns import is_text, one_spelling
from tempembed.data.encoding import is_utf16
from tempembed.data.records import first_bytes, kind_of, open_table
from tempembed.data.values import checked_text
from tempembed.system.cache import INSTALLED_CODE
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file
from tempembed.system.wording import quoted

COLUMNS = ("text", "document")
SUFFIXES = (".txt", *records.SUFFIXES)
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
        """All texts in order, in chunks of 4,096 texts or 4 million characters.

        Raises:
            UserError: a row without text (names file and row), no column of texts, or no texts at all.
        """
        chunk: list[str] = []
        characters = num = 0
        for text in _texts(self.path):
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
    """Open a file of texts: .txt (a text a line), or JSON Lines, CSV or Parquet with a column text or document.

    Args:
        source: the file; or installed-code, the test documents of the embedded corpus.
        say: takes lines of progress.

    Raises:
        UserError: there is no such file, or it is of another kind.
    """
    if source == INSTALLED_CODE:
        from tempembed.data.installed_code import installed_code

        path = installed_code(progress=say).test
    else:
        path = Path(source)
    if kind_of(path) not in SUFFIXES:
        raise UserError(
            f"{source}: expected {INSTALLED_CODE} or a file that ends in {', '.join(SUFFIXES)}, got "
            f"{path.suffix!r}; convert it"
        )
    if not is_file(path):
        raise UserError(f"{source}: expected a file of texts, found no such file; check the path")
    if kind_of(path) != ".parquet" and is_utf16(first_bytes(path)):
        raise UserError(f"{source}: expected UTF-8 text, got UTF-16; save it again as UTF-8")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Texts(source=source, path=path, fingerprint=digest)


def _texts(path: Path) -> Iterator[str]:
    with open_table(path, kept=False) as table:
        column = None if table.names is None else _file_column(table.names, path, table.hint)
        if table.types is not None and not is_text(kind := table.types.field(column).type):
            raise UserError(f"{path}, column {column!r}: expected text, got {kind}; write the column as text")
        for row, line, values in table.rows([] if column is None else [column]):
            try:
                if isinstance(values, BadRow):
                    raise values
                name = column or _column(list(values))
                yield checked_text(values[name], name)
            except BadRow as bad:
                raise _at(path, row, bad, line) from bad


def _column(names: Sequence[str]) -> str:
    """The column that holds the texts, or `BadRow`."""
    found = one_spelling(names, *COLUMNS)
    if found is None:
        raise BadRow(
            "", f"a column {' or '.join(map(repr, COLUMNS))}", quoted(names), "rename the one with the texts"
        )
    return found


def _file_column(names: Sequence[str], path: Path, hint: str) -> str:
    try:
        column = _column(names)
    except BadRow as bad:
        raise UserError(f"{path}: {bad.message}{hint}") from bad
    if list(names).count(column) > 1:
        raise UserError(f"{path}: expected a column {column!r}, got it more than once: rename one")
    return column


def _at(path: Path, row: int, bad: BadRow, line: int = 0) -> UserError:
    where = f" (line {line})" if line else ""
    column = f", column {bad.column!r}" if bad.column else ""
    return UserError(f"{path}, row {row}{where}{column}: {bad.message}")
