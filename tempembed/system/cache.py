"""Where what is made once is kept."""

import os
from pathlib import Path

INSTALLED_CODE = "installed-code"
"""The data source that is always at hand: see data/installed_code.py."""
INSTALLED_TEXT = "installed-text"
"""The raw text that is always at hand: see data/installed_text.py."""


def cache_dir() -> Path:
    """`$TEMPEMBED_CACHE`, or `tempembed` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TEMPEMBED_CACHE") or Path(base) / "tempembed").expanduser().absolute()
