"""Sources of pairs: a file, a folder of files, a saved dataset, one of the hub, or any of them in an object store."""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tempembed.data.arrow import resolved, validated
from tempembed.data.bad_rows import BadRow, Faults
from tempembed.data.columns import Columns, arrow_columns, file_columns, find_columns, has_bytes
from tempembed.data.kept_rows import PART_ROWS
from tempembed.data.parquet import open_parquet, parquet_batches
from tempembed.data.records import SUFFIXES, Record, first_bytes, kind_of, open_table
from tempembed.data.remote import local_copy
from tempembed.data.rows import Collector
from tempembed.data.splits import TEST, TRAIN, VALIDATION, Split, parts_for, split_of
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json, require_file, require_inside
from tempembed.system.wording import first_line, quoted, shown

if TYPE_CHECKING:
    from datasets import Dataset

PICTURE_ROWS = 256
"""Rows with pictures that are read at a time."""
HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[^:/]*)(:(?P<split>[^/]+))?)?")
"""A data set of the hub, perhaps with its configuration and split."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a source."""

    faults: Faults
    split: Split
    scored: bool
    """Whether to read a column of scores beside query and document."""
    say: Callable[[str], None]


def read_source(source: str, reading: Reading) -> dict[str, pa.Table]:
    """One table per file, each with the columns of `SCHEMA` and a score."""
    if not source.strip():
        raise UserError("expected a file, a folder or a hub name with pairs, got an empty name: set --data")
    source = local_copy(source, reading.say)
    path = Path(os.path.expanduser(source))  # unlike Path.expanduser, leaves an unknown ~user alone
    if path.is_dir():
        saved = ("dataset_info.json", "state.json")  # what Dataset.save_to_disk writes beside the data
        if (path / "dataset_dict.json").exists():
            path = _saved_split(path, reading)
            return {str(path): _read_dataset(_load_saved(path), str(path), reading)}
        if all((path / name).exists() for name in saved):
            return {source: _read_dataset(_load_saved(path), source, reading)}
        return {str(file): _read_file(file, reading) for file in _data_files(path, reading)}
    if path.exists():
        return {str(path): _read_file(path, reading)}
    hub = HUB_NAME.fullmatch(source)
    if not hub or kind_of(Path(hub["name"])) in SUFFIXES:
        raise UserError(
            f"{source}: no such file or folder, nor a hub name like org/name, org/name:config or "
            f"org/name:config:split: check the path"
        )
    return {
        source: _read_dataset(_load_hub(hub["name"], hub["config"], hub["split"], reading), source, reading)
    }


def _data_files(folder: Path, reading: Reading) -> list[Path]:
    """The data files of a folder that belong to this split, by name; hidden files are not data."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [(entry.name, entry) for entry in entries if _is_data(entry)]
    if not files:  # a folder for each split, as on the hub
        splits = [entry for entry in entries if entry.is_dir() and split_of(entry.name)]
        inner = [sorted(file for file in split.iterdir() if _is_data(file)) for split in splits]
        files = [(str(file.relative_to(folder)), file) for found in inner for file in found]
    if not files:
        found = f"only {quoted(entry.name for entry in entries)}" if entries else "an empty folder"
        raise UserError(
            f"{folder}: expected files that end in {', '.join(SUFFIXES)}, got {found}: "
            f"give the folder that holds the files (subfolders are not read)"
        )
    return parts_for(reading.split, files, str(folder), reading.say)


def _is_data(entry: Path) -> bool:
    return not entry.name.startswith(".") and not entry.is_dir() and kind_of(entry) in SUFFIXES


def _read_file(path: Path, reading: Reading) -> pa.Table:
    kind = kind_of(path)
    if kind not in SUFFIXES:
        raise UserError(
            f"{path}: expected a file that ends in {', '.join(SUFFIXES)}, got {path.suffix.lower()!r}: convert it"
        )
    if not first_bytes(require_file(path)):
        raise UserError(f"{path}: expected pairs, got an empty file (0 bytes): check how it was made")
    collector = Collector(name=str(path), faults=reading.faults, folder=path.parent)
    if kind == ".parquet":
        with open_parquet(path) as parquet:
            schema = parquet.file.schema_arrow
            columns = arrow_columns(schema, str(path), scored=reading.scored)
            reading.faults.not_read(name for name in schema.names if name not in columns.names)
            rows = _rows_at_a_time(schema, columns)
            collector.add_batches(parquet_batches(parquet, columns.names, rows, kept=False), columns)
    else:
        _read_rows(path, collector, reading)
    return collector.table()


def _rows_at_a_time(schema: pa.Schema, columns: Columns) -> int:
    return PICTURE_ROWS if any(has_bytes(schema.field(name).type) for name in columns.embedded) else PART_ROWS


def _read_rows(path: Path, collector: Collector, reading: Reading) -> None:
    """Read rows of CSV, which has one header, or of JSON, where each line names its columns."""
    with open_table(path, kept=False) as table:
        rows, names = table.rows(()), None
        if table.names is not None:
            first, rows = _peek(rows)
            texts = [name for name in table.names if not _is_numeric(first.get(name))]
            columns = file_columns(table.names, texts, str(path), scored=reading.scored, hint=table.hint)
            reading.faults.not_read(name for name in table.names if name not in columns.names)
        for row, line, values in rows:
            try:
                if isinstance(values, BadRow):
                    raise values
                if table.names is not None:
                    values = _with_lists(values, columns)
                elif tuple(values) != names:
                    texts = [n for n, v in values.items() if isinstance(v, str) and not _is_numeric(v)]
                    columns, names = find_columns(list(values), texts, scored=reading.scored), tuple(values)
                    reading.faults.not_read(name for name in names if name not in columns.names)
                collector.add(values, columns, row, line)
            except BadRow as bad:
                collector.reject(bad, row, line)


def _peek(rows: Iterator[Record]) -> tuple[Mapping[str, Any], Iterator[Record]]:
    """(the values of the first row, all rows)."""
    first = next(rows, None)
    if first is None:
        return {}, iter(())
    return {} if isinstance(first[2], BadRow) else first[2], itertools.chain([first], rows)


def _is_numeric(cell: str | None) -> bool:
    try:
        return cell is not None and float(cell) is not None
    except ValueError:
        return False


def _with_lists(values: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The cells of a row of CSV, with lists read as JSON."""
    for column in columns.lists:
        cell = values[column]
        try:
            values[column] = json.loads(cell) if cell.strip() else None
        except (ValueError, RecursionError):
            pass  # still text, which the check of the row reports
    return values


def _read_dataset(dataset: "Dataset", source: str, reading: Reading) -> pa.Table:
    schema = dataset.features.arrow_schema
    columns = arrow_columns(schema, source, scored=reading.scored)
    reading.faults.not_read(name for name in schema.names if name not in columns.names)
    folder = Path(source) if Path(source).is_dir() else None
    collector = Collector(name=source, faults=reading.faults, folder=folder)
    selected = dataset.select_columns(columns.names).with_format("arrow")
    batches = validated(selected.iter(batch_size=_rows_at_a_time(schema, columns)), source)
    collector.add_batches(resolved(batches, source, kept=False), columns)
    return collector.table()


def _saved_split(folder: Path, reading: Reading) -> Path:
    """The split that is wanted of a folder of `DatasetDict.save_to_disk`."""
    splits = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()]
    if not any(split_of(split.name) for split in splits) or not splits:
        raise UserError(
            f"{folder}: expected one dataset, got several splits ({quoted(s.name for s in splits)}): "
            f"give {folder}/<split>"
        )
    found = parts_for(reading.split, [(split.name, split) for split in splits], str(folder), reading.say)
    if len(found) > 1:
        raise UserError(
            f"{folder}: expected one split for this, got {quoted(split.name for split in found)}: "
            f"give {folder}/<split>"
        )
    return found[0]


def _load_saved(folder: Path) -> "Dataset":
    """Load a folder of `Dataset.save_to_disk`."""
    import datasets

    require_inside(folder, folder.rglob("*"))
    try:
        state = read_json(folder / "state.json")
        if outside := [
            one["filename"] for one in state["_data_files"] if Path(one["filename"]).name != one["filename"]
        ]:
            raise ValueError(f"a file elsewhere, {shown(outside[0])}")
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # as in _load_hub
        raise UserError(
            f"{folder}: expected a whole folder of Dataset.save_to_disk, got {type(error).__name__}: "
            f"{first_line(error)}: save it again"
        ) from error


def _load_hub(name: str, config: str | None, split: str | None, reading: Reading) -> "Dataset":
    """Load a split of a data set of the hub: the one that is named, else the one that is wanted."""
    import datasets

    of_reading = {"train": [TRAIN], "dev": [VALIDATION], "test": [TEST, VALIDATION, TRAIN]}
    wanted = [split] if split else of_reading[reading.split]
    for number, each in enumerate(wanted, start=1):
        try:
            dataset = datasets.load_dataset(name, config or None, split=each)
            reading.say(f"{name}: reads the split {each}")
            return dataset
        except Exception as error:  # what its file, network and format layers raise has no common class
            if number < len(wanted) and "Unknown split" in str(error):
                continue
            raise UserError(
                f"{name}: no such file or folder, and as a dataset: the hub could not be reached, it was not "
                f"found there, or it did not load ({type(error).__name__}: {first_line(error)}): check the "
                f"spelling, the network, and the form org/name:config:split"
            ) from error
    raise AssertionError("a split is tried at least")
