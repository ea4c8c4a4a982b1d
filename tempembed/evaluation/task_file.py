"""Columns of a file of a task, each value checked to be of its kind."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempembed.data.bad_rows import BadRow, Faults
from tempembed.data.encoding import checked_utf8
from tempembed.data.records import open_table
from tempembed.system.errors import UserError
from tempembed.system.wording import quoted


@dataclass(frozen=True)
class Column:
    """A column that a task has."""

    spellings: tuple[str, ...]
    """Its names, of which the first that a file has is read."""
    parse: Callable[[Any], Any]
    """The value of a cell, checked; raises BadRow."""
    optional: bool = False


@dataclass(frozen=True)
class TaskFile:
    """Columns of a file, by our names; one that no row has is left out."""

    path: Path
    columns: dict[str, list[Any]]
    places: list[tuple[int, int]] = field(repr=False)
    """Row and line (0: there are none) of each value."""

    def where(self, number: int, column: str) -> str:
        """A place in words, for a message."""
        return place(self.path, *self.places[number], column)


def place(path: Path, row: int, line: int, column: str | None) -> str:
    """Where a value stands: the file, its line, its row (from 1, the header not counted) and its column."""
    lines = f", line {line}" if line else ""
    return f"{path}{lines}" + (f": row {row}, column {column}" if column else "")


def column_names(path: Path) -> list[str]:
    """The names of the columns of a file; of JSON those of all its rows."""
    with open_table(path, kept=False) as table:
        if table.names is not None:
            return _distinct(table.names, path)
        found: dict[str, None] = {}
        for _, _, values in table.rows(()):
            found.update(dict.fromkeys(() if isinstance(values, BadRow) else values))
        return list(found)


def read_task_file(path: Path, wanted: Mapping[str, Column], faults: Faults) -> TaskFile:
    """The columns that are wanted; other columns are not read.

    Raises:
        UserError: not such a file, missing columns, no rows, and the first bad row unless `faults` counts them.
    """
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    places: list[tuple[int, int]] = []
    seen: dict[str, None] = {}
    with open_table(path, kept=True) as table:
        names = None
        if table.names is not None:
            seen.update(dict.fromkeys(_distinct(table.names, path)))
            names = _spellings(wanted, list(seen), path, table.hint)
        for row, line, values in table.rows(list((names or {}).values())):
            try:
                if isinstance(values, BadRow):
                    raise values
                if table.names is None:
                    seen.update(dict.fromkeys(values))
                parsed = _parsed(values, wanted, names)
            except BadRow as bad:
                faults.report(f"{place(path, row, line, bad.column)}: {bad.message}", bad.reason, bad)
                continue
            places.append((row, line))
            for name, value in parsed.items():
                columns[name].append(value)
    if table.names is None and seen:
        names = _spellings(wanted, list(seen), path)
    if not places:
        first = f" that is good. The first: {faults.first}" if faults.first else ""
        raise UserError(f"{path}: expected rows, got none{first}")
    assert names is not None
    return TaskFile(path, {name: columns[name] for name in wanted if name in names}, places)


def _distinct(names: list[str], path: Path) -> list[str]:
    if repeated := [name for name, num in Counter(names).items() if num > 1]:
        raise UserError(
            f"{path}: expected each column once, got {quoted(repeated)} more than once; rename one"
        )
    return names


def _spellings(wanted: Mapping[str, Column], names: list[str], path: Path, hint: str = "") -> dict[str, str]:
    """Our name to that of the file, of the columns that are there."""
    found = {
        ours: next((name for name in column.spellings if name in names), None)
        for ours, column in wanted.items()
    }
    missing = [
        wanted[ours].spellings[0] for ours, name in found.items() if not (name or wanted[ours].optional)
    ]
    if missing:
        check_names(names, path)
        expected = sorted(column.spellings[0] for column in wanted.values() if not column.optional)
        raise UserError(
            f"{path}: expected the columns {expected}, {missing} are missing from {quoted(names)}{hint}"
        )
    return {ours: name for ours, name in found.items() if name}


def check_names(names: Iterable[str], path: Path) -> None:
    """Raise UserError for a name that is not UTF-8, where a column is missed."""
    for name in names:
        try:
            checked_utf8(name)
        except BadRow as bad:
            raise UserError(f"{path}: could not read it: the names of its columns: {bad.message}") from bad


def _parsed(
    values: Mapping[str, Any], wanted: Mapping[str, Column], names: Mapping[str, str] | None
) -> dict[str, Any]:
    """A row in our names; without `names` those of the row itself."""
    found = {}
    for ours, column in wanted.items():
        name = (
            names.get(ours)
            if names is not None
            else next((each for each in column.spellings if each in values), None)
        )
        if name is None and column.optional:
            found[ours] = column.parse(None)
            continue
        try:
            found[ours] = column.parse(values.get(name) if name else None)
        except BadRow as bad:
            bad.column = name or column.spellings[0]
            bad.reason += f" in {bad.column}"
            raise
    return found
