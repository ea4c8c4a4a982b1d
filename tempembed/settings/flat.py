"""Nested settings under flat names: those of the flags, of settings.json and of MLflow's parameters."""

import dataclasses
import hashlib
import json
import math
import operator
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import annotated_types

from tempembed.system.errors import UserError
from tempembed.system.plugins import names_code
from tempembed.system.typed import adapter

MOST = 2**32 - 1
"""Largest whole number: random generators are seeded with 64 bits that are made of the seed, the step and the rank."""
Group = TypeVar("Group")
ONE_AS_ITSELF: Mapping[str, Any] = {"one": True}
"""Metadata of a field with a tuple that was one value in earlier versions: none is written as None, one as itself."""
_BOUNDS = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}
"""Ends of a range as `annotated_types` calls them, and how each is written and compared."""


def flag(name: str) -> str:
    """How a setting is called on the command line.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def check_ranges(group: Any) -> None:
    """Check a dataclass against the ranges that its fields declare (`annotated_types`); None passes.

    Raises:
        UserError: a number that is not finite, too large, or out of its range.
    """
    for name, hint in typing.get_type_hints(type(group), include_extras=True).items():
        value = getattr(group, name, None)
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{flag(name)}: expected a finite number, got {value}")
        if isinstance(value, int) and value > MOST:
            raise UserError(f"{flag(name)}: expected at most {MOST}, got {value}")
        ends = [
            (*_BOUNDS[end], bound)
            for extra in getattr(hint, "__metadata__", ())
            for end in _BOUNDS
            if (bound := getattr(extra, end, None)) is not None
        ]
        if value is not None and not all(holds(value, bound) for _, holds, bound in ends):
            range_ = " and ".join(f"{sign} {bound:g}" for sign, _, bound in ends)
            raise UserError(f"{flag(name)}: expected {range_}, got {value}")


def flat(settings: Any) -> dict[str, Any]:
    """All settings by name, as plain JSON values."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found |= flat(value)
        elif field.metadata.get("one") and len(value) < 2:
            found[field.name] = value[0] if value else None
        else:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def names(kind: type) -> dict[str, Any]:
    """The type of each setting, by its flat name."""
    return dict(_leaves(kind))


def _of_one(kind: type) -> frozenset[str]:
    """Names of the fields that stand in a file as one value where they have one."""
    hints, found = typing.get_type_hints(kind), set[str]()
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hint := hints[field.name]):
            found |= _of_one(hint)  # type: ignore[arg-type]
        elif field.metadata.get("one"):
            found.add(field.name)
    return frozenset(found)


def _leaves(kind: type) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        yield from _leaves(hint) if dataclasses.is_dataclass(hint) else ((field.name, hint),)  # type: ignore[arg-type]


def changed(settings: Group, **values: Any) -> Group:
    """The settings with other values of those that are named, flat.

    Raises:
        TypeError: a name that is none of theirs.
        UserError: a value out of its range.
    """
    if unknown := sorted(values.keys() - names(type(settings)).keys()):
        raise TypeError(f"expected settings of {type(settings).__name__}, got {unknown}")
    new = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            own = {name: values[name] for name in names(type(value)) if name in values}
            new[field.name] = changed(value, **own) if own else value
        elif field.name in values:
            new[field.name] = values[field.name]
    return dataclasses.replace(settings, **new)  # type: ignore[type-var]


def from_flat(settings: Group, values: Any) -> Group:
    """The settings with those of a file in place of their own.

    Args:
        settings: with the defaults of what the file does not have.
        values: as `flat` gave them.

    Raises:
        UserError: no settings of this kind, or a value of another type or out of its range.
    """
    from pydantic import ValidationError  # a command line that reads no file does without

    hints = names(type(settings))
    if not isinstance(values, dict) or (unknown := sorted(map(str, set(values) - set(hints)))):
        found = f"unknown {unknown[:5]}" if isinstance(values, dict) else f"{str(values)[:60]!r}"
        raise UserError(f"settings: expected those of a training run, got {found}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name in _of_one(type(settings)) & values.keys():
        if values[name] is None or isinstance(values[name], str):
            values[name] = () if values[name] is None else (values[name],)
    for name, value in values.items():
        try:
            adapter(hints[name]).validate_python(value, strict=True)
        except ValidationError:
            raise UserError(
                f"settings: expected {name} to be {hints[name]}, got {str(value)[:60]!r}"
            ) from None
    return changed(settings, **values)


class RunSettings:
    """Settings of a run of any stage: a frozen dataclass of groups, by the names of the flags."""

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Defaults, but for these settings, by the names of their flags.

        Raises:
            TypeError: a name that is none.
            UserError: a value out of its range.
        """
        return changed(cls(), **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values by the names of the flags."""
        return flat(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UserError: not settings, or a value of another type.
        """
        return from_flat(cls(), values)


def restored(settings: Group, stored: Any, asked: Any = None) -> Group:
    """Settings in a file that an earlier version of us may have written: the one migration there is.

    What is not there has the default of `settings`, what is gone since is left out.

    Args:
        settings: with the defaults.
        stored: what the file holds.
        asked: settings of the command; code that the file names is imported only if these name it too, for the folder may be
            somebody else's. None: they name none.

    Raises:
        UserError: as `from_flat`; or code to import that the command does not name.
    """
    if not isinstance(stored, Mapping):
        return from_flat(settings, stored)  # says what it is
    own = {} if asked is None else flat(asked)
    for name in ("encoder", "regularisers"):
        values = stored.get(name) if isinstance(stored.get(name), list | tuple) else [stored.get(name)]
        foreign = [text for text in values or () if isinstance(text, str) and names_code(text)]
        if foreign and stored.get(name) not in (own.get(name), tuple(own.get(name) or ())):
            raise UserError(
                f"{flag(name)}: the settings in the folder name code to import, {' '.join(foreign)}; if you trust the folder, give "
                f"the same {flag(name)}, else start anew"
            )
    known = names(type(settings))
    return from_flat(settings, {name: value for name, value in stored.items() if name in known})


def fingerprint(value: Any) -> str:
    """16 hex digits of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


Positive = annotated_types.Gt(0)
NotNegative = annotated_types.Ge(0)
