"""Values of a row as texts, identities, labels and numbers."""

import datetime
import decimal
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from tempembed.data.bad_rows import BadRow
from tempembed.data.encoding import checked_utf8
from tempembed.system.wording import shown

MOST = 1e15
"""Whole numbers up to here are exact as floats."""


def checked_text(value: Any, column: str, item: str = "") -> str:
    """Return the value if it is text that is not blank and is valid UTF-8; otherwise raise `BadRow`.

    `item` names the part of the cell for the message.
    """
    if value is None:
        raise BadRow("missing text", f"text{item}", "nothing (null)", "fill it in", column=column)
    if not isinstance(value, str):
        raise BadRow("wrong type", f"text{item}", shown(value), "write it as text", column=column)
    if not value.strip():
        raise BadRow("empty text", f"text{item}", f"{shown(value)} (empty)", "fill it in", column=column)
    return checked_utf8(value, column, item)


def document_text(value: Any, column: str, item: str = "") -> str:
    """A text, or title and text of an object, joined as mteb joins them."""
    if isinstance(value, Mapping) and "text" in value:
        text, title = value["text"], value.get("title")
        if text is None or isinstance(text, str):
            value = joined(title if isinstance(title, str) else "", text or "")
    return checked_text(value, column, item)


def joined(title: str, text: str) -> str:
    """Join a title and a body by mteb's rule.

    >>> joined("Sums", "How to add. "), joined("", " How to add.")
    ('Sums How to add.', 'How to add.')
    """
    return f"{title} {text}".strip() if title else text.strip()


def conversation_text(value: Any, column: str, item: str = "", *, assistant: bool = False) -> str:
    """The text of ms-swift's messages: the system's, if any, followed by the user's; or the assistant's."""
    parts: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
    for message in value if isinstance(value, list) else ():
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if role not in parts or not isinstance(content, str) or parts[role]:
            break
        parts[role].append(content)
    else:
        texts = parts["assistant"] if assistant else parts["system"] + parts["user"]
        if texts and (assistant or parts["user"]):
            return checked_text(" ".join(texts), column, item)
    what = 'one message of each role, as [{"role": "user", "content": "..."}]'
    raise BadRow("wrong messages", f"{what}{item}", shown(value), "write it so", column=column)


def as_text(value: Any, column: str) -> str | None:
    """An identity or a label as text, by one rule for all formats; None if it is missing.

    Text stays as it is. A number, true or false and a date are written as Arrow and mteb write them: 1.0 as 1.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return checked_utf8(value, column)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < MOST else repr(value)
    if isinstance(value, int | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return str(value)
    raise BadRow("wrong type", "text or a whole number", shown(value), "write it as text", column=column)


def as_number(value: Any, column: str, expected: str = "a number") -> float:
    """The value as a number, also if it is written as text; otherwise raise `BadRow`."""
    number = math.nan
    if isinstance(value, str | int | float | decimal.Decimal):
        with suppress(ValueError, OverflowError):
            number = float(checked_utf8(value, column) if isinstance(value, str) else value)
    if not -MOST <= number <= MOST:  # as it is for NaN
        raise BadRow("wrong number", expected, shown(value), "write it as a number", column=column)
    return number


def python_rows(batch: pa.Table, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a batch as Python objects."""
    columns = [python_values(batch[name]) for name in names]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The column as Python objects; bytes that are not UTF-8 become surrogates, which `checked_utf8` names."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(_as_bytes(column.type)).to_pylist()]


def _as_bytes(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _as_bytes(type_.value_type)
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in type_])
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return pa.list_(_as_bytes(type_.value_type))
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return pa.large_binary() if text else type_


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {name: _decoded(part) for name, part in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
