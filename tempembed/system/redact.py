"""Passwords in addresses: never printed, logged or handed to another process as an argument."""

import re

from tempembed.system.errors import UserError

_USER_INFO = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"([^/\s?#]*@|[^/\s:?#@]+:(?!\d+[/?#])\S*@)"  # a database's password may hold a slash
)
_QUERY = re.compile(r"(?i)(?P<key>[?&](?:password|passwd|token|secret|api_?key|access_key)=)[^&\s#]+")


def redact(text: str) -> str:
    """Replace the user and password of every address in a text by `***`, and the secrets of its query too.

    >>> redact("MLflow at https://me:pass@host:5000/x: no answer")
    'MLflow at https://***@host:5000/x: no answer'
    >>> redact("postgresql://host/db?password=pass&sslmode=require"), redact("sqlite:///a@b.db")
    ('postgresql://host/db?password=***&sslmode=require', 'sqlite:///a@b.db')
    """
    return _QUERY.sub(r"\g<key>***", _USER_INFO.sub(r"\g<scheme>***@", text))


def redact_flag(flag: str, uri: str) -> tuple[str, ...]:
    """The flag and its address as arguments; nothing if the address holds a secret, since others can read a command line.

    >>> redact_flag("--mlflow-uri", "http://host:5000"), redact_flag("--mlflow-uri", "http://me:pass@host:5000")
    (('--mlflow-uri', 'http://host:5000'), ())
    """
    return (flag, uri) if redact(uri) == uri else ()


def refuse_secret(flag: str, uri: str | None) -> None:
    """Refuse an address that holds a secret: Ray's job list shows a job's command line.

    Raises:
        UserError: the address holds a password.
    """
    if uri and not redact_flag(flag, uri):
        raise UserError(
            f"{flag} {redact(uri)}: expected an address without a password, since Ray's job list shows a job's command line; "
            "give it as MLFLOW_TRACKING_URI, or the password as MLFLOW_TRACKING_PASSWORD, in the environment that Ray is "
            "started in, and choose another password: this one has been shown"
        )
