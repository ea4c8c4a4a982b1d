"""Where MLflow is: refused before MLflow, which would answer with a traceback, or make its tables in a database of others."""

import sqlite3
from pathlib import Path

from tempembed.errors import UserError
from tempembed.redact import redact

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
SQLITE = "sqlite:///"


def check_uri(uri: str) -> str:
    """The address of a tracking server or of its database; a path is that of an SQLite file.

    Raises:
        UserError: neither, or an SQLite file that is none, or whose tables are not MLflow's.
    """
    if uri == "databricks":
        return uri
    scheme, found, _ = uri.partition("://")
    if not found:
        uri = f"{SQLITE}{Path(uri).expanduser().absolute()}"
    elif scheme.partition("+")[0] not in SCHEMES:
        raise UserError(
            f"MLflow at {redact(uri)}: expected {', '.join(SCHEMES)}://… or the path of an SQLite file, got {scheme}://"
        )
    if uri.startswith(SQLITE):
        _check_sqlite(Path(uri.removeprefix(SQLITE)))
    return uri


def _check_sqlite(path: Path) -> None:
    if not path.exists():
        return
    try:
        with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as database:
            tables = {
                name for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            }
        database.close()
    except sqlite3.Error as error:
        raise UserError(
            f"MLflow at {path}: expected an SQLite database, could not read it as one ({error})"
        ) from error
    if tables and "experiments" not in tables:
        raise UserError(
            f"MLflow at {path}: expected MLflow's database, found one with other tables ({', '.join(sorted(tables)[:5])}); name "
            "another file"
        )
