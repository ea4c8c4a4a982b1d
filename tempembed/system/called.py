"""Rooms whose name is also that of a command: `tempembed.codecs` is a package, and `tempembed.codecs(...)` the command."""

import importlib
from types import ModuleType
from typing import Any


class Called(ModuleType):
    """A module that calls the function of its name in `tempembed.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The command of `tempembed.api`."""
        function = getattr(importlib.import_module("tempembed.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **options)
