"""Raw text of any source, as documents one after the other: files of rows, text and source files, folders, globs, the hub."""

import codecs
import difflib
import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tempembed.data import records
from tempembed.data.bad_rows import BadRow, Faults
from tempembed.data.bounds import open_bytes
from tempembed.data.columns import is_text
from tempembed.data.descriptions import package_descriptions
from tempembed.data.encoding import START_BYTES, is_utf16, latin1_hint
from tempembed.data.files import HUB_NAME
from tempembed.data.manuals import plain_manual
from tempembed.data.records import kind_of, open_table
from tempembed.data.remote import local_copy
from tempembed.data.values import checked_text
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, is_folder
from tempembed.system.wording import first_line, quoted

PIECE_CHARACTERS = 2**20
"""A longer document is split, at the end of a line where it has one."""
ROWS = (".parquet", ".jsonl", ".ndjson")
"""Files of rows that a folder is searched for; .json, .csv and .tsv have to be named, since folders of code hold others of that name."""
TEXT = (
    ".txt .text .md .markdown .rst .org .tex .py .pyi .pyx .c .h .cc .cpp .hpp .cu .cs .go .hs .java .jl .js .jsx .kt .lua .m .ml .php "
    ".pl .r .rb .rs .scala .sh .sql .swift .ts .tsx"
).split()
"""Text and source files that a folder is searched for; a file that is named, or that a glob finds, may end in anything."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A place that documents are read from, one after the other."""

    kind: Literal["rows", "file", "man", "descriptions", "hub"]
    place: str
    stamp: tuple[int, int] = (0, 0)
    """Bytes, and nanoseconds of the last change."""
    installed: bool = False
    """Of this machine, not the user's: a file that is no text is left out and counted, whatever was asked for."""


@dataclass(frozen=True, kw_only=True)
class TextReading:
    """How raw text is read."""

    column: str
    faults: Faults
    counts: Counter[str]
    """What was met beside bad rows: empty texts, pieces of long documents, files of the machine that are no text."""


def file_part(
    file: Path | os.DirEntry[str],
    kind: Literal["rows", "file", "man", "descriptions"],
    *,
    installed: bool = False,
) -> Part:
    """A file as a part."""
    stat = file.stat()
    return Part(kind=kind, place=os.fspath(file), stamp=(stat.st_size, stat.st_mtime_ns), installed=installed)


def text_parts(source: str) -> list[Part]:
    """The parts of a source that a user gave, in a fixed order.

    Raises:
        UserError: nothing of this name, or a folder without text.
    """
    if not source.strip():
        raise UserError("--text: expected a file, a folder, a glob or a hub name, got an empty name")
    source = local_copy(source)
    path = Path(os.path.expanduser(source))
    if is_folder(path):
        return _folder_parts(path)
    if is_file(path):
        return [_named(path)]
    if glob.has_magic(source):
        found = sorted(filter(os.path.isfile, glob.glob(str(path), recursive=True)))
        if not found:
            raise UserError(
                f"--text {source}: expected files that fit the pattern, found none; check the path"
            )
        return [_named(Path(each)) for each in found]
    hub = HUB_NAME.fullmatch(source)
    if path.exists() or not hub or kind_of(Path(hub["name"])) in (*records.SUFFIXES, *TEXT):
        near = difflib.get_close_matches(path.name, _names(path.parent), 1)
        raise UserError(
            f"--text {source}: expected a file, a folder, a glob or a hub name like org/name:config:split, found none"
            + (f"; is it {near[0]}?" if near else "; check the path")
        )
    return [Part(kind="hub", place=source)]


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if is_folder(folder) else []


def _named(path: Path) -> Part:
    return file_part(path, "rows" if kind_of(path) in records.SUFFIXES else "file")


def _folder_parts(folder: Path) -> list[Part]:
    parts, others = list[Part](), Counter[str]()
    for entry in walk(folder):
        path = Path(entry.name)
        kind = kind_of(path)
        if kind in ROWS or kind in TEXT:
            parts.append(file_part(entry, "rows" if kind in ROWS else "file"))
        else:
            others["".join(path.suffixes[-2:]) or path.name] += 1
    if not parts:
        found = f"only {quoted(others)}" if others else "an empty folder"
        raise UserError(
            f"--text {folder}: expected files that end in {', '.join((*ROWS, *TEXT[:6]))} or another suffix of text, got {found}; "
            f"name others by a glob, as '{folder}/*.json.gz'"
        )
    return parts


def walk(folder: str | Path, skipped: Collection[str] = ()) -> Iterator[os.DirEntry[str]]:
    """All files below a folder, sorted; hidden ones, links to folders, and folders of these names are left out."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in skipped:
                yield from walk(entry.path, skipped)
        elif entry.is_file():
            yield entry


def part_texts(part: Part, reading: TextReading) -> Iterator[str]:
    """The documents of a part; blank ones are left out and counted, longer ones than 1 Mi characters split.

    Raises:
        UserError: a file or row that is bad, unless such are skipped; no such column. Names the place.
    """
    for text in _READERS[part.kind](part, reading):
        if not text.strip():
            reading.counts["empty texts"] += 1
        elif len(text) <= PIECE_CHARACTERS:
            yield text
        else:
            pieces = list(_pieces(text))
            reading.counts["further pieces of long texts"] += len(pieces) - 1
            yield from pieces


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + PIECE_CHARACTERS
        if end < len(text):
            end = text.rfind("\n", start + PIECE_CHARACTERS // 2, end) + 1 or end
        if (piece := text[start:end]).strip():
            yield piece
        start = end


def _file_texts(part: Part, reading: TextReading) -> Iterator[str]:
    """A file as one document; as several where it is longer than may be held."""
    path, decoder = Path(part.place), codecs.getincrementaldecoder("utf-8-sig")()
    half, done = PIECE_CHARACTERS // 2, 0
    with open_bytes(path, kept=False) as file:
        while chunk := file.read(half):
            chunk += file.readline(half) if len(chunk) == half else b""
            try:
                if is_utf16(chunk[:START_BYTES]) or b"\0" in chunk:
                    found = "UTF-16" if is_utf16(chunk[:START_BYTES]) else "a binary file (it has NUL bytes)"
                    raise BadRow("file that is no text", "UTF-8 text", found, "leave it out, or convert it")
                text = _decoded(decoder, chunk, done)
            except BadRow as bad:
                _bad_file(path, bad, part, reading)
                return
            reading.counts["further pieces of files longer than 1 MiB"] += done > 0
            done += len(chunk)
            yield text
    if decoder.getstate()[0]:
        cut_off = BadRow("invalid UTF-8", "UTF-8", "half a character at the end", "copy the file again")
        _bad_file(path, cut_off, part, reading)


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, done: int) -> str:
    try:
        return decoder.decode(chunk)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        found = f"byte 0x{byte:02x} near byte {done + error.start + 1:,}"
        todo = f"save it as UTF-8{latin1_hint(byte)}"
        raise BadRow("invalid UTF-8", "UTF-8", found, todo) from error


def _bad_file(path: Path, bad: BadRow, part: Part, reading: TextReading) -> None:
    if part.installed:
        reading.counts["installed files that are no text"] += 1
    else:
        reading.faults.report(f"{path}: {bad.message}", bad.reason, bad)


def _row_texts(part: Part, reading: TextReading) -> Iterator[str]:
    """The texts of a file of rows."""
    path = Path(part.place)
    with open_table(path, kept=False) as table:
        if table.names is not None:
            _require_column(table.names, reading.column, f"{path}", table.hint)
        if table.types is not None and not is_text(kind := table.types.field(reading.column).type):
            raise UserError(
                f"{path}, column {reading.column!r}: expected text, got {kind}; name another with --column"
            )
        for row, line, values in table.rows([reading.column]):
            try:
                yield _text(values, reading.column)
            except BadRow as bad:
                reading.faults.add(bad, str(path), row, line)


def _text(values: Mapping[str, Any] | BadRow, column: str) -> str:
    """The text of a row; "" where it has none."""
    if isinstance(values, BadRow):
        raise values
    if column not in values:
        found = f"{quoted(values)}{_nearest(column, list(values))}"
        raise BadRow("no column of texts", f"a column {column!r}", found, "set --column", column=column)
    value = values[column]
    return (
        "" if value is None or (isinstance(value, str) and not value.strip()) else checked_text(value, column)
    )


def _require_column(names: Sequence[str], column: str, source: str, hint: str = "") -> None:
    if names.count(column) != 1 if isinstance(names, list) else column not in names:
        found = "it more than once" if column in names else f"{quoted(names)}{_nearest(column, names)}"
        raise UserError(f"{source}: expected a column {column!r}, got {found}{hint}; set --column")


def _nearest(column: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(column, names, 1, 0.5)
    return f" (is it {near[0]!r}?)" if near else ""


def _hub_texts(part: Part, reading: TextReading) -> Iterator[str]:
    """The texts of a data set of the hub, streamed; the split train where none is named."""
    for row, values in enumerate(_hub_rows(part.place), start=1):
        if row == 1:
            _require_column(list(values), reading.column, f"--text {part.place}")
        try:
            yield _text(values, reading.column)
        except BadRow as bad:
            reading.faults.add(bad, part.place, row, 0)


def _hub_rows(place: str) -> Iterator[Mapping[str, Any]]:
    import datasets

    hub = HUB_NAME.fullmatch(place)
    assert hub
    try:
        split = hub["split"] or "train"
        rows = iter(datasets.load_dataset(hub["name"], hub["config"] or None, split=split, streaming=True))
    except Exception as error:  # what its file, network and format layers raise has no common class
        raise UserError(
            f"--text {place}: no such file or folder, and as a dataset of the hub it was not found or did not load "
            f"({type(error).__name__}: {first_line(error)}); check the spelling, the network, and the form org/name:config:split"
        ) from error
    while True:
        # only the reading is inside `try`: an error of ours is none of the network
        try:
            values = next(rows, None)
        except Exception as error:  # as above
            raise UserError(
                f"--text {place}: expected to read on, and could not ({type(error).__name__}: {first_line(error)}); give the same "
                "command again"
            ) from error
        if values is None:
            return
        yield values


def _man_texts(part: Part, reading: TextReading) -> Iterator[str]:
    for text in _file_texts(part, reading):
        yield plain_manual(text)


def _descriptions(part: Part, reading: TextReading) -> Iterator[str]:
    for row in package_descriptions():
        yield f"{row['package']}: {row['query']}\n{row['document']}\n"


_READERS = {
    "file": _file_texts, "rows": _row_texts, "hub": _hub_texts, "man": _man_texts, "descriptions": _descriptions,
}  # fmt: skip
