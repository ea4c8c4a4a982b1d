"""Why a tracking server or its database did not do what was asked: one line, by what their libraries say."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tempembed.system.disk import is_full
from tempembed.system.errors import UserError
from tempembed.system.redact import redact

LIBRARIES = ("mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "sqlite3", "botocore")
"""Errors of their classes are the service's, not ours."""
CAUSES: tuple[tuple[str, str], ...] = (
    (r"Databricks credential|databricks-sdk",
     "credentials for Databricks, got none; set DATABRICKS_HOST and DATABRICKS_TOKEN, and install databricks-sdk"),
    (r"Invalid Host header|DNS rebinding",
     "to be let in, got 403: the server does not know this name of it; start it with --allowed-hosts, or take its other name"),
    (r"error code 401|UNAUTHENTICATED|Unauthorized",
     "to be let in, got 401; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN (if no MLflow is meant to "
     "ask for them, another server may have this port: Ray's dashboard has 8265)"),
    (r"error code 403|PERMISSION_DENIED",
     "permission, got 403; ask for the right to write there, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account that "
     "has it, or choose another --experiment"),
    (r"WRONG_VERSION_NUMBER|record layer failure|wrong version number",
     "https, got a server without it; write http://"),
    (r"HTTPS port|BadStatusLine|Connection aborted|RemoteDisconnected",
     "MLflow to answer, the server hung up; if it is one of https, write https://"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
     "a certificate that is trusted here, got another; set MLFLOW_TRACKING_SERVER_CERT_PATH to that of its authority"),
    (r"Name or service not known|Failed to resolve|name resolution|nodename nor servname|could not translate host name|Unknown .*server host",
     "a host that is known, got a name that is not; correct it"),
    (r"out-of-date database schema|Can't locate revision",
     "tables of this MLflow, {tables}; install the MLflow that made them, upgrade a copy of them (mlflow db upgrade ADDRESS), or name "
     "another database"),
    (r"readonly database|read-only|attempt to write a readonly",
     "a database that can be written, got one that is read-only; change its permissions or its mount, or name another"),
    (r"unable to open database file|Permission denied",
     "a place that can be read and written, got no permission; give it, or name another"),
    (r"database is locked",
     "its turn at the database, others hold it; start a server (mlflow server), which several writers may share"),
    (r"password authentication failed|Access denied|no password supplied|role .* does not exist|Login failed",
     "the database to let it in, it did not; correct user and password in the address"),
    (r"database .* does not exist|Unknown database", "a database, got the name of none; make it, or correct the address"),
    (r"no such table|UndefinedTable|relation .* does not exist",
     "MLflow's tables, some are missing; restore the database, or name another"),
    (r"error code 404|error code 405|not in a valid JSON|Expecting value|error code 400",
     "a tracking server, got another kind of server, or a path that is too much or too little; correct the address"),
    (r"too many (5\d\d|429) error|error code (5\d\d|429)",
     "MLflow to answer, its server failed; its log says why (its database may be down, full, or of another version)"),
    (r"refused|No route to host|Network is unreachable|ConnectTimeout|Connection timed out",
     "MLflow to answer, nothing does; start it (mlflow server), or correct host and port"),
    (r"timed out|ReadTimeout", "MLflow to answer in time, it did not; see whether the server hangs, or correct host and port"),
    (r"[Rr]un (with id=|')\S+ not found|Run \S+ not found",
     "a run, it was deleted for good; restore MLflow's data, or train and register again"),
    (r"must be in the 'active' state", "a run or an experiment, it was deleted; restore it (mlflow experiments restore, or in the page)"),
    (r"Failed to download artifacts|No such artifact|No such file or directory|NoSuchKey|NoSuchBucket",
     "files of a run in the artifact store, they are not there ({line}); restore them, or train and register again"),
    (r"Invalid url|InvalidURL|Failed to parse|No host supplied|Could not parse", "an address such as http://host:5000, got another; correct it"),
)  # fmt: skip
"""What an error says, and what was expected, got and is to be done. The first that fits counts."""


class UnansweredError(UserError):
    """MLflow does not answer, or not as it should; later it may."""


@contextmanager
def answered(address: str, what: str = "MLflow") -> Iterator[None]:
    """Within it, an error of MLflow, of its database or of the way there is one line.

    Args:
        address: of the server or the database.
        what: is asked.

    Raises:
        UnansweredError: with the cause.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := cause(error)) is None:
            raise
        raise UnansweredError(f"{what} at {redact(address)}: expected {why}") from error


def cause(error: BaseException) -> str | None:
    """What was expected of the service, what it gave and what to do; None for an error that is not the service's."""
    chain = list(_chain(error))
    if is_full(error):
        return "room for what it is told, its disk or its database is full; make room there"
    if missing := next((each for each in chain if isinstance(each, ModuleNotFoundError)), None):
        return (
            f"the Python package {missing.name}, which this address needs, it is not installed; install it, or name another driver "
            "(postgresql+psycopg2://...)"
        )
    if not any(type(each).__module__.partition(".")[0] in LIBRARIES for each in chain) and not isinstance(
        error, OSError
    ):
        return None
    text = "\n".join(f"{type(each).__name__}: {each}" for each in chain)
    line = redact((str(chain[-1]).strip().splitlines() or [type(error).__name__])[0])[:200]
    is_told = isinstance(chain[-1], OSError) and not type(chain[-1]).__module__.startswith(
        ("requests", "urllib3")
    )
    for pattern, why in CAUSES:
        if re.search(pattern, text, re.MULTILINE):
            why = why.replace("{tables}", _tables(text)).replace("{line}", line)
            return f"{why} ({line})" if is_told and line not in why else why
    return f"MLflow to answer, got {line}; see its log"


def _tables(text: str) -> str:
    found = re.search(r"found version (\w+), but expected (\w+)", text)
    return (
        f"got those of version {found[1]} in place of {found[2]}" if found else "got those of another version"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
