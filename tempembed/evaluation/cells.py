"""Values of cells in a task's files, each checked; what is no such value raises BadRow."""

from collections.abc import Callable
from typing import Any

from tempembed.data.bad_rows import BadRow
from tempembed.data.encoding import checked_utf8
from tempembed.data.values import as_number, as_text
from tempembed.system.wording import shown


def _expected(what: str, value: Any) -> BadRow:
    return BadRow(f"no {what.removeprefix('a ')}", what, shown(value), "mend it")


def text(value: Any) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise _expected("text", value)
    return checked_utf8(value)


def text_or_nothing(value: Any) -> str:
    """Text; what is absent is empty."""
    if value is not None and not isinstance(value, str):
        raise _expected("text", value)
    return checked_utf8(value or "")


def identity(value: Any) -> str:
    """An id as text."""
    found = _as_text(value)
    if not found:
        raise _expected("an id", value)
    return found


def title(value: Any) -> str:
    """A title as text; what is absent is empty."""
    return _as_text(value) or ""


def label(value: Any) -> str:
    """A label as text, which may be empty."""
    found = _as_text(value)
    if found is None:
        raise _expected("a label", value)
    return found


def number(value: Any) -> float:
    """A number."""
    return as_number(value, "")


def gain(value: Any) -> int:
    """How relevant a document is: a whole number."""
    found = as_number(value, "", "a whole number")
    if not found.is_integer():
        raise _expected("a whole number", value)
    return int(found)


def binary(value: Any) -> int:
    """0 or 1."""
    found = as_number(value, "", "0 or 1")
    if found not in (0, 1):
        raise _expected("0 or 1", value)
    return int(found)


def list_of(item: Callable[[Any], Any], what: str) -> Callable[[Any], list[Any]]:
    """The values of a list."""

    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _expected(f"a list of {what}", value)
        return [item(each) for each in value]

    return parse


def _as_text(value: Any) -> str | None:
    return as_text(value, "")
