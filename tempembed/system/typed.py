"""Values from a file as typed objects: checked once, where they come in."""

import json
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def typed(kind: type[T], value: Any) -> T:
    """A JSON value as a dataclass, or as a container of dataclasses; members that it does not know are left out.

    Args:
        kind: what is expected; its annotations say which values are good.
        value: as `json.loads` gives it.

    Raises:
        ValueError: names the first member that is not as it should be.
    """
    from pydantic import ValidationError

    try:
        # as JSON: strict about every value, and an array is a tuple
        checker: Any = adapter(kind)  # type: ignore[arg-type]  # a type is hashable
        return checker.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:60] for part in first["loc"][:6])
        raise ValueError(f"{place}: {first['msg'][:200]}" if place else first["msg"][:200]) from error


@cache
def adapter(kind: Any) -> Any:
    """Pydantic's checker of a type, made once: to make it takes longer than to use it."""
    from pydantic import TypeAdapter  # a tenth of a second, which only readers of files need

    return TypeAdapter(kind)
