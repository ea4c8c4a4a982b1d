"""Where pairs come from: a file, a folder of files, a saved dataset, or one of the hub."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tempembed.data.bounds import (
    LINE_BYTES,
    csv_lines,
    cut_lines,
    open_parquet,
    parquet_batches,
    resolved,
    validated,
)
from tempembed.data.columns import Columns, arrow_columns, file_columns, find_columns
from tempembed.data.faults import BadRow, Faults
from tempembed.data.rows import CHUNK_ROWS, Collector
from tempembed.data.wording import first_line, quoted, shown
from tempembed.errors import UserError
from tempembed.untrusted import read_json, require_file, require_inside

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark, which may come before the first line."""

_HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[^:/]*)(:(?P<split>[^/]+))?)?")


def read_source(source: str, faults: Faults) -> dict[str, pa.Table]:
    """One table per file, each with the columns of `SCHEMA`."""
    if not source.strip():
        raise UserError("expected a file, a folder or a hub name with pairs, got an empty name: set --data")
    path = Path(os.path.expanduser(source))  # unlike Path.expanduser, leaves an unknown ~user alone
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
        found = f"only {quoted(entry.name for entry in entries)}" if entries else "an empty folder"
        raise UserError(
            f"{folder}: expected files that end in {', '.join(SUFFIXES)}, got {found}: "
            f"give the folder that holds the files (subfolders are not read)"
        )
    return files


def _read_file(path: Path, faults: Faults) -> pa.Table:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: expected a file that ends in {', '.join(SUFFIXES)}, got {suffix!r}: convert it"
        )
    with require_file(path).open("rb") as file:
        start = file.read(2)
    if not start:
        raise UserError(f"{path}: expected pairs, got an empty file (0 bytes): check how it was made")
    collector = Collector(name=str(path), faults=faults)
    if suffix == ".parquet":
        _read_parquet(path, collector)
    elif start in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: expected UTF-8 text, got UTF-16: save it again as UTF-8")
    elif suffix in (".csv", ".tsv"):
        _read_csv(path, "\t" if suffix == ".tsv" else ",", collector)
    else:
        _read_json_lines(path, collector)
    return collector.table()


def _read_parquet(path: Path, collector: Collector) -> None:
    file = open_parquet(path)
    with file:
        columns = arrow_columns(file.schema_arrow, str(path))
        batches = parquet_batches(path, file, columns.names, CHUNK_ROWS, kept=True)
        collector.add_batches(batches, columns)


def _read_dataset(dataset: "Dataset", source: str, faults: Faults) -> pa.Table:
    columns = arrow_columns(dataset.features.arrow_schema, source)
    collector = Collector(name=source, faults=faults)
    selected = dataset.select_columns(columns.names).with_format("arrow")
    batches = validated(selected.iter(batch_size=CHUNK_ROWS), source)
    collector.add_batches(resolved(batches, source, kept=True), columns)
    return collector.table()


def _load_saved(folder: Path) -> "Dataset":
    """A folder of `Dataset.save_to_disk`."""
    import datasets

    if (folder / "dataset_dict.json").exists():
        splits = quoted(entry.name for entry in sorted(folder.iterdir()) if entry.is_dir())
        raise UserError(
            f"{folder}: expected one dataset, got several splits ({splits}): give {folder}/<split>"
        )
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


def _load_hub(name: str, config: str | None, split: str | None) -> "Dataset":
    import datasets

    try:
        return datasets.load_dataset(name, config or None, split=split or "train")
    except Exception as error:  # what its file, network and format layers raise has no common class
        raise UserError(
            f"{name}: no such file or folder, and as a dataset: the hub could not be reached, it was not "
            f"found there, or it did not load ({type(error).__name__}: {first_line(error)}): check the "
            f"spelling, the network, and the form org/name:config:split"
        ) from error


def _read_json_lines(path: Path, collector: Collector) -> None:
    row, names, columns = 0, None, None
    with path.open("rb") as file:
        for line, content in enumerate(cut_lines(file), start=1):
            is_too_long = len(content) > LINE_BYTES
            content = content.removeprefix(BOM) if line == 1 else content
            if not is_too_long and not content.strip():
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
                if is_too_long:
                    raise BadRow(
                        "line that is too long", f"lines of at most {LINE_BYTES:,} bytes", "a longer one",
                        "put one row on a line, or cut its texts",
                    )  # fmt: skip
                values = json_object(content)
                if columns is None or tuple(values) != names:
                    texts = [name for name, value in values.items() if isinstance(value, str)]
                    names, columns = tuple(values), find_columns(list(values), texts)
                collector.add(values, columns, row, line)
            except BadRow as bad:
                collector.reject(bad, row, line)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(members)
    if len(values) < len(members):
        repeated = [name for name, count in Counter(name for name, _ in members).items() if count > 1]
        raise BadRow(
            "doubled name", "each name once in an object", f"{quoted(repeated)} more than once", "rename one"
        )
    return values


_JSON = json.JSONDecoder(object_pairs_hook=_unique)  # made once: json.loads with a hook makes one per line


def json_object(line: bytes) -> dict[str, Any]:
    """The object of a line of JSON Lines, each name in it once; `BadRow` if the line is anything else."""
    try:
        value = _JSON.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        raise BadRow("invalid UTF-8", "UTF-8", found, "save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else " (the last line; the file may be cut off)"
        # Not str(error) of a JSONDecodeError: its "line 1" would be taken for a line of the file.
        why = (
            f"{error.msg} at character {error.pos + 1}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        found = f"{shown(line.decode().strip())}{cut}, {why}"
        raise BadRow("line that is not JSON", "one JSON object per line", found, "write it again") from error
    if not isinstance(value, dict):
        raise BadRow("line that is not an object", "one JSON object per line", shown(value), "write it again")
    return value


def _read_csv(path: Path, delimiter: str, collector: Collector) -> None:
    with csv_lines(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        _, header = next(csv_records(reader, path), (1, []))
        columns = file_columns(header, header, str(path))
        for row, (line, cells) in enumerate(csv_records(reader, path), start=1):
            try:
                collector.add(_csv_values(header, cells, columns), columns, row, line)
            except BadRow as bad:
                collector.reject(bad, row, line)


def csv_records(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
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


def _csv_values(header: list[str], cells: list[str], columns: Columns) -> dict[str, Any]:
    if len(cells) != len(header):
        found = f"{len(cells)}, the first {shown(cells[0])}"
        todo = "quote cells that hold the separator"
        raise BadRow("wrong number of cells", f"{len(header)} cells as in the header", found, todo)
    values: dict[str, Any] = dict(zip(header, cells, strict=True))
    if columns.hard_negatives:
        cell = values[columns.hard_negatives]
        try:
            values[columns.hard_negatives] = json.loads(cell) if cell.strip() else None
        except (ValueError, RecursionError):
            pass  # still text, which _clean_row reports
    return values
