"""Whether files still are what was written: their sha256 beside them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""Of a folder: `{"sha256": checksums(...)}`, and what else there is to say."""


def is_intact(folder: Path) -> bool:
    """Whether the folder has a manifest, and exactly the files that it has sums of, as they were written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        check(folder, sums.keys() | {path.name for path in folder.iterdir()} - {MANIFEST}, sums)
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of each file, in hex."""
    return {name: sha256(folder / name) for name in names}


def check(folder: Path, names: Iterable[str], sums: Mapping[str, Any]) -> None:
    """Raise unless each file has its sum.

    Raises:
        OSError: a file that cannot be read.
        KeyError: a file without a sum.
        ValueError: one with another sum; says which.
    """
    for name in names:
        if (found := sha256(folder / name)) != sums[name]:
            raise ValueError(f"{name} has sha256 {found[:12]}…, expected {str(sums[name])[:12]}…")


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
