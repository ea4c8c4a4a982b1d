"""Places: paths that mean the same to every process of a run and to later commands, whatever folder they start in."""

import os
from pathlib import Path
from typing import Any, TypeVar

from tempembed.encoders.from_scratch import FROM_SCRATCH
from tempembed.settings.flat import changed, flat
from tempembed.settings.model import CONVOLUTION
from tempembed.settings.sources import parse_source
from tempembed.system.cache import EMBEDDED, INSTALLED_TEXT
from tempembed.system.untrusted import check_place

NAMES = (*EMBEDDED, INSTALLED_TEXT, *FROM_SCRATCH, CONVOLUTION)
"""They name no place, even where a folder is called so; ./static is that folder."""
INPUTS = ("data", "dev_data", "eval_data", "encoder", "image_encoder", "guide", "text", "exclude")
"""Settings that may name a place to read from."""
WEIGHTED = ("data", "dev_data", "eval_data")
"""Those whose places may have a weight."""
Settings = TypeVar("Settings")


def located(place: str) -> str:
    """What is there, by its absolute path; a name (static, a hub name), or what is not there, as it is. ~ is the home folder.

    >>> located("static"), located("org/name:config")
    ('static', 'org/name:config')
    """
    if place in NAMES:
        return place
    path = os.path.expanduser(place)
    return str(Path(path).absolute()) if path and os.path.exists(path) else place


def located_source(text: str) -> str:
    """A source of pairs with its weight, if it has one, as `located`."""
    place = parse_source(text).place
    return located(place) + text[len(place) :]


def with_places(settings: Settings, **more: Any) -> Settings:
    """The settings with absolute paths of what they read, where it is there; `more` replaces others.

    Args:
        settings: nested or not; settings of `INPUTS` that it does not have are left out.
        more: settings by name.
    """
    found = flat(settings)
    inputs: dict[str, Any] = {}
    for name in INPUTS:
        if value := found.get(name):
            find = located_source if name in WEIGHTED else located
            inputs[name] = tuple(map(find, value)) if isinstance(value, list) else find(value)
    return changed(settings, **{**inputs, **more})


def output_place(flag: str, place: str) -> Path:
    """Where something is written that stays, absolute.

    Raises:
        UserError: no place of a file system, or one in Ray's copies.
    """
    path = Path(os.path.expanduser(place))
    check_place(path, flag)
    return path.absolute()
