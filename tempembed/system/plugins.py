"""Things by name: our own, and MODULE:NAME of any package that can be imported."""

import importlib
from collections.abc import Mapping
from typing import Any

from tempembed.system.errors import UserError


def find(flag: str, name: str, known: Mapping[str, Any]) -> Any:
    """The object of a name.

    Args:
        flag: that gave the name, for the error.
        name: a key of `known`, or MODULE:NAME.
        known: objects by name; a string among them is the MODULE:NAME that has it, imported only now.

    Raises:
        UserError: there is none of that name.
    """
    found = known.get(name, name)
    if not isinstance(found, str):
        return found
    module, colon, attribute = found.partition(":")
    why = f"got {name}"
    if colon:
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            why = f"got {name} ({error})"
    raise UserError(
        f"{flag}: expected {', '.join(sorted(known))}, or MODULE:NAME of one that can be imported, {why}; correct it"
    )
