"""Checks of what somebody else may have written: paths before they are used, files before they are read."""

import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ADDRESS = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]+:")
"""The start of an address that was given as a path: `s3:/bucket/one`."""
COPIES = "runtime_resources"
"""Ray's folder for its copies of a job's `--working-dir`; they are removed when no job needs them."""
JSON_BYTES = 64 * 2**20
"""The largest JSON file that is read. A report has a few MB; in memory JSON takes up to twenty times its size."""


def check_place(path: Path, what: str) -> None:
    """Raise UserError unless a file can be created there and stay: length, characters, addresses, Ray's own copies."""
    parts = [os.fsencode(part) for part in path.parts]
    if any(b"\0" in part for part in parts):
        raise UserError(f"{what} {str(path)[:60]!r}: expected a path without NUL characters; choose another")
    # 32 bytes are left for what is put around a name while its file is being written
    if any(len(part) > 223 for part in parts) or len(os.fsencode(path.absolute())) > 3800:
        raise UserError(
            f"{what} {str(path)[:60]}…: expected names of at most 223 bytes in a path of at most 3,800, got "
            f"{max(map(len, parts))} and {len(os.fsencode(path))}; choose a shorter one"
        )
    if scheme := next((part for part in parts if ADDRESS.fullmatch(part)), None):
        raise UserError(
            f"{what} {path}: expected a path, got an address ({scheme.decode()}//…); give a folder of a file system, which all nodes share "
            "if there are several, for example a mount, or copy it there afterwards"
        )
    if "~" in path.parts:
        raise UserError(
            f"{what} {path}: expected a path, got ~, which a shell replaces only outside quotes; write your home folder out"
        )
    if COPIES in path.absolute().parts or COPIES in Path(os.path.realpath(path)).parts:
        raise UserError(
            f"{what} {path.absolute()}: expected a place that stays, got one in Ray's copy of --working-dir, which is thrown away and is "
            "another after any change of a file; write an absolute path on a file system that all nodes share, such as /shared/one"
        )
    above = next((place for place in path.absolute().parents if os.path.lexists(place)), None)
    if above and not is_folder(above):
        raise UserError(f"{what} {path}: expected a folder above it, {above} is none; choose another place")


def is_file(path: Path) -> bool:
    """Whether a file is there; false for an impossible path, where `Path.is_file` would raise."""
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; false for an impossible path."""
    return os.path.isdir(path)


def require_file(path: Path) -> Path:
    """Return the path if a plain file is there; opening a pipe or a device may block for ever.

    Raises:
        UserError: there is nothing, or something else.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise UserError(
            f"{str(path)[:300]!r}: expected a file, got none that can be read ({error}); check the path"
        ) from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise UserError(f"{path}: expected a file, got {found}; give a file, or write its content into one")
    return path


def require_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Raise UserError if one of the paths is a link out of the folder."""
    home = folder.resolve()
    for path in paths:
        try:
            target = path.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise UserError(f"{path}: expected a file, got a link that leads nowhere ({error})") from error
        if not target.is_relative_to(home):
            raise UserError(
                f"{path}: expected a file inside {folder}, got a link to {target}; put a copy of the file in its place"
            )


def read_json(path: Path) -> Any:
    """Read a JSON file of at most 64 MiB.

    Raises:
        UserError: not a plain file, too large, not UTF-8, not JSON, too deep, or a name twice in an object.
    """
    if (size := require_file(path).stat().st_size) > JSON_BYTES:
        raise UserError(
            f"{path}: expected at most {JSON_BYTES:,} bytes of JSON, got {size:,}; check the path"
        )
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: expected JSON that tempembed wrote, and could not read it ({type(error).__name__}: "
            f"{str(error)[:200]}); restore the file"
        ) from error


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(members)
    if len(values) < len(members):
        raise ValueError("a name comes twice in an object")
    return values


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file.

    Raises:
        UserError: not a plain file, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{path}: expected a whole safetensors file, and could not read it ({type(error).__name__}: "
            f"{str(error)[:200]}); restore the file"
        ) from error
