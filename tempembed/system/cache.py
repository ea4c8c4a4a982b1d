"""Where what is made once is kept."""

import os
from pathlib import Path

INSTALLED_CODE = "installed-code"
"""The data source that is always at hand: see data/installed_code.py."""
INSTALLED_GLYPHS = "installed-glyphs"
"""Names and pictures of characters, always at hand as well: see data/installed_glyphs.py. Its test is of held-out characters."""
GLYPH_FACES = "installed-glyphs/faces"
"""The same pairs, with held-out faces of the training characters as the test."""
GLYPH_PICTURES = "installed-glyphs/pictures"
"""Pairs of pictures of a character in two faces, without its name."""
EMBEDDED = (INSTALLED_CODE, INSTALLED_GLYPHS, GLYPH_FACES, GLYPH_PICTURES)
"""Sources of pairs that bring a test of their own."""
INSTALLED_TEXT = "installed-text"
"""The raw text that is always at hand: see data/installed_text.py."""


def cache_dir() -> Path:
    """`$TEMPEMBED_CACHE`, or `tempembed` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TEMPEMBED_CACHE") or Path(base) / "tempembed").expanduser().absolute()
