"""Data that a program holds (rows, frames, Arrow tables, datasets), kept once as a file by its content.

So the readers of files check it, a resumed run finds it again, and the workers of a cluster can read it. Rows become JSON Lines,
tables Parquet; neither is held twice.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.system.cache import cache_dir
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.names import file_name
from tempembed.system.wording import shown

CHUNK_ROWS = 16_384
EXPECTED = (
    "a path, a hub name, a list of dictionaries, a pandas frame, an Arrow table, a datasets.Dataset, or for a mixture a list of "
    "(data, weight)"
)


def places(data: Any, name: str = "data") -> dict[str, str]:
    """Where data is, by the setting that names it: paths as they are, other data in files of the cache, each with what to call it.

    Args:
        data: see `EXPECTED`; a mixture may also be a dictionary of place to weight, or of name to data or (data, weight).
        name: of the data, for its file and for messages.

    Returns:
        Settings (place, or place:weight) to names; a path is called as it is.

    Raises:
        UserError: none of these, or no rows.
    """
    if isinstance(data, Mapping) and not _is_splits(data):
        parts = [_weighted(key, value) for key, value in data.items()]
    elif isinstance(data, list | tuple) and data and not isinstance(data[0], Mapping):
        several = [data] if _is_weighted(data) else data
        parts = [
            (f"{name}-{number}", *(each if _is_weighted(each) else (each, None)))
            for number, each in enumerate(several, 1)
        ]
    else:
        parts = [(name, data, None)]
    found = {}
    for own, each, weight in parts:
        is_path = isinstance(each, str | os.PathLike)
        place = os.fspath(each) if is_path else str(stored(each, str(own)))
        key = place if weight is None else f"{place}:{_digits(weight, name)}"
        if key in found:
            raise UserError(f"{name}: expected each source once, got {own} twice; give it a greater weight")
        found[key] = place if is_path else str(own)
    return found


def _digits(weight: float, name: str) -> str:
    """A weight as settings have it, without an exponent."""
    if not math.isfinite(weight):
        raise UserError(f"{name}: expected weights that are finite numbers, got {weight}")
    return f"{weight:.12f}".rstrip("0").rstrip(".")


def _weighted(key: Any, value: Any) -> tuple[Any, Any, float | None]:
    """Name, data and weight of an entry of a dictionary."""
    if isinstance(value, int | float):
        return key, key, value
    return (key, *value) if _is_weighted(value) else (key, value, None)


def _is_weighted(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], int | float)


def _is_splits(data: Any) -> bool:
    """Whether it is a DatasetDict, which is no mixture."""
    return type(data).__module__.startswith("datasets")


def stored(data: Any, name: str) -> Path:
    """The file in the cache that holds the data; written if it is not there.

    Raises:
        UserError: data of a kind that is not read, or no rows.
    """
    if _is_splits(data) and isinstance(data, Mapping):
        raise UserError(
            f"{name}: expected one split, got a DatasetDict of {', '.join(data)}; give one of them"
        )
    if isinstance(data, list | tuple):
        return _published(name, ".jsonl", lambda path: _write_rows(path, _rows(data, name)))
    if _is_a(data, "pandas", "DataFrame"):
        return _published(name, ".jsonl", lambda path: _write_rows(path, _frame_rows(data, name)))
    if _is_a(data, "datasets", "Dataset", "IterableDataset"):
        batches = (table for table in data.with_format("arrow").iter(batch_size=CHUNK_ROWS))
    elif isinstance(data, pa.Table | pa.RecordBatch):
        table = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
        batches = (table.slice(start, CHUNK_ROWS) for start in range(0, len(table), CHUNK_ROWS))
    elif hasattr(data, "__arrow_c_stream__"):
        batches = (pa.Table.from_batches([batch]) for batch in pa.RecordBatchReader.from_stream(data))
    else:
        raise UserError(f"{name}: expected {EXPECTED}, got {type(data).__name__}")
    return _published(name, ".parquet", lambda path: _write_tables(path, batches))


def _is_a(data: Any, package: str, *classes: str) -> bool:
    """Whether it is of a class of a package that need not be installed."""
    return any(
        kind.__name__ in classes and kind.__module__.split(".")[0] == package for kind in type(data).__mro__
    )


def _published(name: str, suffix: str, write: Callable[[Path], int]) -> Path:
    folder = cache_dir() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with room_for("data from memory", folder), tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as scratch:  # fmt: skip
        partial = Path(scratch) / f"rows{suffix}"
        if not write(partial):
            raise UserError(f"{name}: expected rows, got none")
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        path = folder / digest / (file_name(name) + suffix)
        path.parent.mkdir(exist_ok=True)
        partial.replace(path)  # of the same content if it is there
    return path


def _rows(data: Sequence[Any], name: str) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(data, 1):
        if not isinstance(row, Mapping):
            raise UserError(f"{name}, row {number}: expected a dictionary as in the first row, got {shown(row)}")  # fmt: skip
        yield row


def _frame_rows(frame: Any, name: str) -> Iterator[Mapping[str, Any]]:
    if not all(isinstance(column, str) for column in frame.columns):
        raise UserError(f"{name}: expected columns with names of text, got {shown(list(frame.columns))}")
    for start in range(0, len(frame), CHUNK_ROWS):
        yield from frame.iloc[start : start + CHUNK_ROWS].to_dict("records")


def _write_rows(path: Path, rows: Iterator[Mapping[str, Any]]) -> int:
    number = 0
    with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
        for number, row in enumerate(rows, 1):  # noqa: B007  the last is the number of rows
            json.dump({str(key): _plain(value) for key, value in row.items()}, file, default=_other)
            file.write("\n")
    return number


def _plain(value: Any) -> Any:
    """A missing value of a frame as None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _other(value: Any) -> Any:
    """Values of numpy as Python has them; anything else as the text that a reader will refuse, with its row."""
    return value.tolist() if hasattr(value, "tolist") else {"": repr(value)[:80]}


def _write_tables(path: Path, tables: Iterator[pa.Table]) -> int:
    number, writer = 0, None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema))
            number += len(table)
    finally:
        if writer:
            writer.close()
    return number
