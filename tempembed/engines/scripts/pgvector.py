"""Load the codes into PostgreSQL with pgvector: python load.py [--target postgresql://...]. schema.sql makes the table."""

from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
from shards import HERE, Settings, batches, main

TARGET = "postgresql:///postgres"
OPERATOR = {"float32": "<#>", "float16": "<#>", "binary": "<~>"}


def load(settings: Settings, target: str) -> None:
    """Fill a new table, in one transaction; `copy` is the fastest way in."""
    shown = _shown(settings)
    with psycopg.connect(target) as database, database.cursor() as cursor:
        cursor.execute((HERE / "schema.sql").read_text())
        with cursor.copy(f"copy {settings['name']} (id, code) from stdin") as copy:
            for ids, codes in batches(settings):
                if settings["storage"] == "binary":
                    codes = np.unpackbits(codes, axis=1, count=settings["width"])
                for each, row in zip(ids, codes, strict=True):
                    copy.write_row((each, shown(row)))


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first."""
    shown, storage = _shown(settings), settings["storage"]
    cast = {"float32": "vector", "float16": "halfvec", "binary": f"bit({settings['width']})"}[storage]
    statement = f"select id from {settings['name']} order by code {OPERATOR[storage]} %s::{cast} limit %s"
    rows: Any = queries > 0 if storage == "binary" else queries.astype(np.float32)
    with psycopg.connect(target) as database:
        return [[name for (name,) in database.execute(statement, (shown(row), k))] for row in rows]


def _shown(settings: Settings) -> Callable[[np.ndarray], str]:
    """How a vector is written in SQL."""
    if settings["storage"] == "binary":
        return lambda row: "".join("1" if bit else "0" for bit in row)
    return lambda row: f"[{','.join(map(str, row.tolist()))}]"


if __name__ == "__main__":
    main(load, TARGET, __doc__)
