"""Texts to search in: one file, read in chunks and never held in whole."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tempembed.data import records
from tempembed.data.bad_rows import BadRow
from tempembed.data.columns import has_bytes, is_text, one_spelling
from tempembed.data.encoding import is_utf16
from tempembed.data.installed import installed
from tempembed.data.picture_cells import PictureCells, title_of_cell
from tempembed.data.records import first_bytes, kind_of, open_table
from tempembed.data.values import checked_text
from tempembed.inputs.picture_store import titled
from tempembed.inputs.pictures import SUFFIXES as SUFFIXES_OF_PICTURES
from tempembed.system.cache import INSTALLED_CODE, INSTALLED_GLYPHS
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, is_folder
from tempembed.system.wording import quoted

COLUMNS = ("text", "document")
PICTURES = ("image", "file_name")
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
        for text in _pictures(self.path) if self.path.is_dir() else _texts(self.path):
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
        source: the file, whose column may be of pictures; a folder of pictures; or installed-code or installed-glyphs, the test
            documents of an embedded corpus.
        say: takes lines of progress.

    Raises:
        UserError: there is no such file, or it is of another kind.
    """
    found = installed(source, say)
    path = found.test if found else Path(source)
    if is_folder(path):
        named = hashlib.sha256(
            "\n".join(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in _files(path)).encode()
        )
        return Texts(source=source, path=path, fingerprint=named.hexdigest()[:16])
    if kind_of(path) not in SUFFIXES:
        raise UserError(
            f"{source}: expected {INSTALLED_CODE}, {INSTALLED_GLYPHS}, a folder of pictures or a file that ends in {', '.join(SUFFIXES)}, got "
            f"{path.suffix!r}; convert it"
        )
    if not is_file(path):
        raise UserError(f"{source}: expected a file of texts, found no such file; check the path")
    if kind_of(path) != ".parquet" and is_utf16(first_bytes(path)):
        raise UserError(f"{source}: expected UTF-8 text, got UTF-16; save it again as UTF-8")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Texts(source=source, path=path, fingerprint=digest)


def _files(folder: Path) -> list[Path]:
    """The pictures of a folder, by name; subfolders are not read."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES_OF_PICTURES)


def _pictures(folder: Path) -> Iterator[str]:
    """The name of each picture of a folder, with its file's."""
    cells = PictureCells(folder)
    try:
        for row, path in enumerate(_files(folder), start=1):
            try:
                yield titled(cells.name(path.name, "file"), path.name)
            except BadRow as bad:
                raise UserError(bad.at(folder, row, 0)) from bad
    finally:
        cells.flush()


def _texts(path: Path) -> Iterator[str]:
    cells = PictureCells(path.parent)
    with ExitStack() as stack:
        table = stack.enter_context(open_table(path, kept=False))
        stack.callback(cells.flush)
        column = None if table.names is None else _file_column(table.names, path, table.hint)
        kind = None if table.types is None else table.types.field(column).type
        if kind is not None and not is_text(kind) and not has_bytes(kind):
            raise UserError(f"{path}, column {column!r}: expected text, got {kind}; write the column as text")
        for row, line, values in table.rows([] if column is None else [column]):
            try:
                if isinstance(values, BadRow):
                    raise values
                name = column or _column(list(values))
                cell = values[name]
                if cells.decide(name, cell, must=name in PICTURES):
                    yield titled(cells.name(cell, name), title_of_cell(cell, row))
                else:
                    yield checked_text(cell, name)
            except BadRow as bad:
                raise UserError(bad.at(path, row, line)) from bad


def _column(names: Sequence[str]) -> str:
    """The column that holds the texts, or `BadRow`."""
    found = next((name for name in PICTURES if name in names), None) or one_spelling(names, *COLUMNS)
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
