"""Load the codes into a LanceDB table: python load.py [--target lance]."""

from collections.abc import Iterator
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from shards import Settings, batches, main, packed

TARGET = "lance"
TYPES = {"float32": pa.float32(), "float16": pa.float16(), "binary": pa.uint8()}


def load(settings: Settings, target: str) -> None:
    """Write the table anew."""
    width = settings["bytes"] if settings["storage"] == "binary" else settings["width"]
    kind = TYPES[settings["storage"]]
    schema = pa.schema({"id": pa.string(), "vector": pa.list_(kind, width)})

    def tables() -> Iterator[pa.RecordBatch]:
        for ids, codes in batches(settings):
            flat = pa.array(np.ascontiguousarray(codes).reshape(-1)).cast(kind)
            yield pa.record_batch(
                [pa.array(ids), pa.FixedSizeListArray.from_arrays(flat, width)], schema=schema
            )

    lancedb.connect(target).create_table(settings["name"], tables(), schema=schema, mode="overwrite")


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first; the whole table is looked at, as it has no index."""
    table: Any = lancedb.connect(target).open_table(settings["name"])
    is_bits = settings["storage"] == "binary"
    rows: Any = packed(queries) if is_bits else queries.astype(np.float32)
    metric = "hamming" if is_bits else "dot"
    return [
        table.search(row, vector_column_name="vector").distance_type(metric).select(["id"]).limit(k).to_arrow()["id"].to_pylist()
        for row in rows
    ]  # fmt: skip


if __name__ == "__main__":
    main(load, TARGET, __doc__)
