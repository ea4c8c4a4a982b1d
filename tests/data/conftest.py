"""Files for the reader, written in any of its formats."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _cell(value):
    return json.dumps(value) if isinstance(value, list) else "" if value is None else value


def write(path, content):
    """Write rows (in the format that the name asks for), a table, text or bytes."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_bytes(content.encode())
    elif isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif path.suffix.lower() == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            writer.writerows([list(content[0]), *([_cell(v) for v in row.values()] for row in content)])
    else:
        path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode())
    return str(path)


@pytest.fixture
def put(tmp_path):
    """`put(name, content)` writes a file into the test's folder and returns its path."""
    return lambda name, content: write(tmp_path / name, content)
