"""Code from outside the package that registers codecs, task kinds and the like."""

import os
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from tempembed.system.errors import UserError

GROUP = "tempembed.plugins"
"""Entry points of installed packages: each names a module that registers something when it is imported."""
VARIABLE = "TEMPEMBED_PLUGINS"
"""Further modules, by their names, with commas between them."""


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
            import_module(name.strip())
        except ModuleNotFoundError as error:
            raise UserError(
                f"${VARIABLE}: expected names of modules, found no {error.name!r}; put its folder on PYTHONPATH"
            ) from error
