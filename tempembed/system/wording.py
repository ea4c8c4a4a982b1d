"""Values, names and counts as messages show them."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any


def shown(value: Any) -> str:
    """A value, shortened, with its type."""
    try:
        text = repr(value[:80] if isinstance(value, str) else value)
    except RecursionError:  # lists in lists, just shallow enough to be read
        text = "..."
    kinds = {bool: "true/false", int: "number", float: "number", list: "list", dict: "object"}
    kind = f" ({kinds[type(value)]})" if type(value) in kinds else ""
    return (text if len(text) <= 60 else f"{text[:57]}...") + kind


def quoted(names: Iterable[str]) -> str:
    """At most ten names, quoted."""
    first = list(itertools.islice(names, 11))
    if not first:
        return "none"
    return ", ".join(shown(name) for name in first[:10]) + (", ..." if len(first) > 10 else "")


def counts(reasons: Mapping[str, int]) -> str:
    """Counts by reason, as "2 x duplicate pair"."""
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.items())


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 400 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]
