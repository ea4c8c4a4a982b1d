"""Checksums in a folder's manifest: whether its files are still what was written."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""The file with a folder's sums, `{"sha256": checksums(...)}`, and whatever else describes the folder."""


def is_intact(folder: Path) -> bool:
    """Whether the folder has a manifest, exactly the files that it lists, and each as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        check(folder, sums.keys() | {path.name for path in folder.iterdir()} - {MANIFEST}, sums)
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def publish(partial: Path, folder: Path) -> None:
    """Rename a folder that is complete into place; where another process was first with the same content, theirs stays.

    Raises:
        OSError: something else is there.
    """
    try:
        partial.rename(folder)
    except OSError:
        if not is_intact(folder):
            raise


@contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside this one, that takes its name at the end of the block, in place of a damaged one; none is left where the block fails.

    The block writes the manifest.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of each file, in hex."""
    return {name: sha256(folder / name) for name in names}


def check(folder: Path, names: Iterable[str], sums: Mapping[str, Any]) -> None:
    """Raise unless each file has its sum.

    Raises:
        OSError: a file that cannot be read.
        KeyError: a file that is not listed.
        ValueError: a file with another sum; the message names it.
    """
    for name in names:
        if (found := sha256(folder / name)) != sums[name]:
            raise ValueError(f"{name} has sha256 {found[:12]}…, expected {str(sums[name])[:12]}…")


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
