"""Load the codes into a SQLite file with sqlite-vec: python load.py [--target documents.db]. schema.sql makes the table."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import sqlite_vec
from shards import HERE, Settings, batches, main, packed

try:  # some builds of Python leave extensions out of their sqlite3
    import pysqlite3 as sqlite3
except ImportError:
    import sqlite3

TARGET = "documents.db"
FUNCTION = {"float32": "vec_f32", "binary": "vec_bit"}


def load(settings: Settings, target: str) -> None:
    """Fill a new table, in one transaction a shard."""
    Path(target).unlink(missing_ok=True)
    with closing(_open(target)) as database:
        database.executescript((HERE / "schema.sql").read_text())
        statement = f"insert into {settings['name']}(id, code) values (?, {FUNCTION[settings['storage']]}(?))"
        for ids, codes in batches(settings):
            with database:
                database.executemany(statement, zip(ids, (row.tobytes() for row in codes), strict=True))


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first."""
    vector = FUNCTION[settings["storage"]]
    statement = f"select id from {settings['name']} where code match {vector}(?) and k = ? order by distance"
    rows = packed(queries) if settings["storage"] == "binary" else queries.astype(np.float32)
    with closing(_open(target)) as database:
        return [[name for (name,) in database.execute(statement, (row.tobytes(), k))] for row in rows]


def _open(target: str) -> Any:
    database = sqlite3.connect(target)
    database.enable_load_extension(True)
    sqlite_vec.load(database)
    database.enable_load_extension(False)
    return database


if __name__ == "__main__":
    main(load, TARGET, __doc__)
