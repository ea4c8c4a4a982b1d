"""CSV by its rules for quotes, and TSV as people write it."""

import csv
import itertools
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from tempembed.data.bounds import text_lines
from tempembed.system.errors import UserError

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def separated_records(path: Path, delimiter: str, *, kept: bool) -> Generator[tuple[int, list[str]]]:
    """The records that are not blank, the header first, each with the number of its first line.

    In a .tsv a quote mostly is a character like any other. If every line has as many tabs as the header, each is a
    record, and only cells that CSV must have quoted lose their quotes. Else CSV's rules hold, if by them every
    record has the header's number of cells; else each line is a record, and those of another length are bad. CSV's
    rules also hold where the header is quoted, or where quotes hold lines that begin with a tab (code is indented so).

    Raises:
        UserError: a line that is too long; in CSV, quotes that do not close.
    """
    by_lines, all_quoted = (False, False) if delimiter == "," else _tsv_by_lines(path, kept=kept)
    with text_lines(path, kept=kept) as lines:
        if by_lines:
            yield from _line_records(lines, all_quoted=all_quoted)
        else:
            yield from _csv_records(lines, delimiter, path)


def other_separator(header: list[str], delimiter: str) -> str:
    """Addition to a message about a header of one cell: another separator that it seems to have.

    >>> other_separator(["query;document"], ",")
    '; the columns seem to be separated by semicolons, not by commas: save the file with commas'
    """
    counts = {mark: header[0].count(mark) for mark in _NAMES if mark != delimiter} if len(header) == 1 else {}
    if not any(counts.values()):
        return ""
    found, ours = _NAMES[max(counts, key=counts.__getitem__)], _NAMES[delimiter]
    return f"; the columns seem to be separated by {found}, not by {ours}: save the file with {ours}"


def _csv_records(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = iter(lines)
    first = next(lines, "")
    reader = csv.reader(itertools.chain([first], lines) if first else (), delimiter=delimiter, strict=True)
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
                + other_separator(first.split(delimiter), delimiter)
            ) from error
        if cells:
            yield line, cells


def _line_records(lines: Iterable[str], *, all_quoted: bool) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        line = _without_end(line)
        if not line:
            continue
        cells = line.split("\t")
        yield number, [_unquoted(cell, all_quoted=all_quoted) for cell in cells] if '"' in line else cells


def _without_end(line: str) -> str:
    return line[:-2] if line.endswith("\r\n") else line[:-1] if line.endswith(("\n", "\r")) else line


def _unquoted(cell: str, *, all_quoted: bool) -> str:
    """The cell without quotes that CSV puts around what holds a quote, or around everything; "Hello" keeps its own."""
    inner = cell[1:-1]
    if not _is_quoted(cell) or not (all_quoted or '""' in inner or not inner):
        return cell
    return inner.replace('""', '"')


def _is_quoted(cell: str) -> bool:
    return (
        len(cell) > 1 and cell[0] == '"' == cell[-1] and '"' not in cell[1:-1].replace('""', "")
    )  # fmt: skip


def _tsv_by_lines(path: Path, *, kept: bool) -> tuple[bool, bool]:
    """(whether each line of a .tsv is a record, whether all of its cells are quoted as the header's are)."""
    tabs, even, has_quotes, all_quoted = None, True, False, False
    with text_lines(path, kept=kept) as lines:
        for line in lines:
            if not (line := _without_end(line)):
                continue
            if tabs is None:
                tabs, all_quoted = line.count("\t"), all(map(_is_quoted, line.split("\t")))
            even &= line.count("\t") == tabs
            has_quotes |= '"' in line
    if tabs is None or not has_quotes:
        return True, False
    further = _further_lines(path, tabs + 1, kept=kept)
    if further is None:
        return True, all_quoted
    # Lines of a cell that are like rows are rows, unless they begin with a tab: that is code, and no row.
    is_csv = (
        all_quoted or not even or any(line.startswith("\t") for line in further) or bool(further and not tabs)
    )
    return not is_csv, all_quoted


def _further_lines(path: Path, num_cells: int, *, kept: bool) -> list[str] | None:
    """The starts of lines inside of cells, by CSV's rules; None if these do not give every record so many cells."""
    further: list[str] = []
    with text_lines(path, kept=kept) as lines:
        starts: list[str] = []
        reader = csv.reader(_noted(lines, starts), delimiter="\t", strict=True)
        try:
            for cells in reader:
                if cells and len(cells) != num_cells:
                    return None
                further += starts[1:]
                starts.clear()
        except csv.Error:
            return None
    return further


def _noted(lines: Iterable[str], starts: list[str]) -> Iterator[str]:
    """The lines; the first character of each is put into `starts`."""
    for line in lines:
        starts.append(line[:1])
        yield line
