"""Full disks: recognise one behind any error, and report it with the sizes and what to do."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tempembed.system.errors import InfrastructureError, UserError

NUMBERS = (errno.ENOSPC, errno.EDQUOT)
WORDS = re.compile(
    rf"No space left|os error 28|quota exceeded|os error {errno.EDQUOT}|Not enough free space|\d+ requested and \d+ written"
    "|database or disk is full"
)
"""Messages of libraries that drop the error number: safetensors and tokenizers, numpy, SQLite."""
ROOM = 4 * 2**20
"""Bytes; a disk with less free space counts as full."""


class DiskFullError(InfrastructureError):
    """The disk is full; what was there before is untouched."""


def is_full(error: BaseException) -> bool:
    """Whether a full disk, or a used-up quota, is anywhere in the exception chain."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFullError) or getattr(error, "errno", None) in NUMBERS:
            return True
        if not isinstance(error, UserError) and WORDS.search(str(error)):  # ours may quote anything
            return True
        error = error.__cause__ or error.__context__ or error
    return False


@contextmanager
def room_for(what: str, folder: Path, need: int | None = None) -> Iterator[None]:
    """Turn a full disk into a DiskFullError.

    Args:
        what: what is being written, for the message.
        folder: where it is written.
        need: its bytes, if known.

    Raises:
        DiskFullError: with the bytes that are needed and those that are free.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        expected = "room" if need is None else f"{need / 1e6:,.1f} MB"
        raise DiskFullError(
            f"{what} in {folder}: expected {expected} of disk, got {_free(folder):,.1f} MB "
            f"({error}); make room, and give the same command again: nothing that was there before is lost"
        ) from error


def has_room(folder: Path, num_bytes: int = ROOM) -> bool:
    """Whether so many bytes can be written there, found by writing them: quotas and used-up inodes count.

    True without the permission to try.
    """
    try:
        with tempfile.TemporaryFile(dir=_there(folder)) as file:
            file.write(os.urandom(num_bytes))  # some file systems store zeros in no room
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in NUMBERS
    return True


def full_disk(error: BaseException, places: Iterable[Path]) -> DiskFullError | None:
    """The error to report in place of one that hides its cause (a truncated file, a process that is gone), if a disk is full.

    None if none of the places is full, or if the error names its cause itself.
    """
    if is_full(error) or (isinstance(error, UserError) and not isinstance(error, InfrastructureError)):
        return None
    full = next((place for place in dict.fromkeys(places) if not has_room(place)), None)
    if full is None:
        return None
    line = (str(error).strip().splitlines() or [""])[-1]
    said = line if isinstance(error, InfrastructureError) else f"{type(error).__name__}: {line}"
    return DiskFullError(
        f"the disk is full: expected room for {ROOM / 1e6:,.1f} MB in {full}, got {_free(full):,.1f} MB; it is the likely cause of "
        f"what ended the run ({said[:300]}); make room, and give the same command again"
    )


@contextmanager
def blamed_on_disk(*places: Path) -> Iterator[None]:
    """Turn an error that does not name its cause into a DiskFullError, if one of the places is full.

    Raises:
        DiskFullError: see `full_disk`.
    """
    try:
        yield
    except Exception as error:
        if full := full_disk(error, places):
            raise full from error
        raise


def _there(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def _free(folder: Path) -> float:
    """Free space, in megabytes."""
    return shutil.disk_usage(_there(folder)).free / 1e6
