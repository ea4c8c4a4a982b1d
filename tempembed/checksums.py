"""Whether files still are what was written: their sha256 beside them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of each file, in hex."""
    return {name: _sha256(folder / name) for name in names}


def check(folder: Path, names: Iterable[str], sums: Mapping[str, Any]) -> None:
    """Raise unless each file has its sum.

    Raises:
        OSError: a file that cannot be read.
        KeyError: a file without a sum.
        ValueError: one with another sum; says which.
    """
    for name in names:
        if (found := _sha256(folder / name)) != sums[name]:
            raise ValueError(f"{name} has sha256 {found[:12]}…, expected {str(sums[name])[:12]}…")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
