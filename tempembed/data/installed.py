"""Data that is always at hand, by its names: pairs for training, and those held out from them as the test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tempembed.system.cache import GLYPH_FACES, GLYPH_PICTURES, INSTALLED_CODE, INSTALLED_GLYPHS


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Files of pairs."""

    train: Path
    test: Path


def installed(place: str, say: Callable[[str], None] = lambda _: None) -> Installed | None:
    """The files of a name, made where they are not there yet; None for any other place."""
    if place == INSTALLED_CODE:
        from tempembed.data.installed_code import installed_code

        code = installed_code(progress=say)
        return Installed(train=code.train, test=code.test)
    if place in (INSTALLED_GLYPHS, GLYPH_PICTURES, GLYPH_FACES):
        from tempembed.data.installed_glyphs import installed_glyphs

        found = installed_glyphs(progress=say)
        if place == GLYPH_PICTURES:
            return Installed(train=found.pictures_train, test=found.pictures_test)
        return Installed(train=found.train, test=found.faces if place == GLYPH_FACES else found.test)
    return None
