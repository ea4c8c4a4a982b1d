"""Code from outside the package: things by MODULE:NAME, and modules that register codecs and task kinds."""

import importlib
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from tempembed.system.errors import UserError

GROUP = "tempembed.plugins"
"""Entry points of installed packages: each names a module that registers something when it is imported."""
VARIABLE = "TEMPEMBED_PLUGINS"
"""Further modules, by their names, with commas between them."""


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


def names_code(text: str) -> bool:
    """Whether it is a MODULE:NAME, perhaps with a weight behind; imports nothing.

    >>> names_code("my_module:deep"), names_code("koleo:0.1"), names_code("org/model")
    (True, False, False)
    >>> names_code("my_module:deep(2):0.1"), names_code("kl(0.05):0.5")
    (True, False)
    """
    module, _, attribute = text.partition(":")
    name = attribute.partition(":")[0].partition("(")[0]
    return name.isidentifier() and all(part.isidentifier() for part in module.split("."))


@cache
def load_plugins() -> None:
    """Import the modules, once in a process.

    Raises:
        UserError: a module that is named in the environment is not there.
    """
    for point in entry_points(group=GROUP):
        point.load()
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        try:
            importlib.import_module(name.strip())
        except ModuleNotFoundError as error:
            raise UserError(
                f"${VARIABLE}: expected names of modules, found no {error.name!r}; put its folder on PYTHONPATH"
            ) from error
