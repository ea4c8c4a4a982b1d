"""Where MLflow is: refused before MLflow, which would answer with a traceback, or make its tables in a database of others."""

import os
import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tempembed.system.errors import UserError
from tempembed.system.redact import redact
from tempembed.system.untrusted import check_place

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
SQLITE = "sqlite:///"
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
CONNECT_SECONDS = 10


def check_uri(uri: str) -> str:
    """The address of a tracking server or of its database; a path is that of an SQLite file.

    Raises:
        UserError: neither, or an SQLite file that is none, or whose tables are not MLflow's.
    """
    if uri == "databricks":
        return uri
    scheme, found, _ = uri.partition("://")
    if not found and re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        raise UserError(
            f"MLflow at {uri}: expected an address with its scheme, or the path of an SQLite file, got host and port; write http://{uri}"
        )
    if not found:
        uri = f"{SQLITE}{Path(uri).expanduser().absolute()}"
    elif scheme.partition("+")[0] not in SCHEMES:
        raise UserError(
            f"MLflow at {redact(uri)}: expected {', '.join(SCHEMES)}://… or the path of an SQLite file, got {scheme}://; correct it"
        )
    if uri.startswith(("http://", "https://")):
        _check_host(uri)
    if uri.startswith(SQLITE):
        file, mark, options = uri.removeprefix(SQLITE).partition("?")
        path = Path(file).expanduser().absolute()  # relative, it would be another file for each process
        check_place(path, "MLflow at")
        _check_sqlite(path)
        uri = f"{SQLITE}{path}{mark}{options}"
    return uri


def check_database(uri: str, *, write: bool = False) -> None:
    """Connect once, and raise what its driver raises; MLflow would try for minutes, and print each failure.

    Args:
        uri: as `check_uri` gives it.
        write: whether it must be one that can be written; asked of SQLite, whose file may be read-only.
    """
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE).partition("?")[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(path).close()
        if write and not os.access(path, os.W_OK):
            raise sqlite3.OperationalError("attempt to write a readonly database")
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if kind not in DATABASE_PORTS:
        return
    if parts.hostname:
        socket.create_connection(
            (parts.hostname, parts.port or DATABASE_PORTS[kind]), CONNECT_SECONDS
        ).close()
    with create_engine(uri, poolclass=NullPool).connect():
        pass


def _check_host(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        is_address = bool(parts.hostname) and parts.port != 0  # reading the port checks it
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(
            f"MLflow at {redact(uri)}: expected an address such as http://host:5000, got one without a host or with no port that can "
            "be; correct it"
        )


def _check_sqlite(path: Path) -> None:
    if not path.exists():
        there = next(place for place in path.parents if place.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(
                f"MLflow at {path}: expected a database or a place for a new one, got a folder that cannot be written, {there}; name "
                "another file"
            )
        return
    if path.is_dir():
        raise UserError(
            f"MLflow at {path}: expected the file of a database, got a folder; name a file in it, such as {path / 'mlflow.db'}"
        )
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
