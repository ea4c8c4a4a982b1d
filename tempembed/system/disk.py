"""A full disk, as an error that says what to do."""

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
"""What libraries say that keep no number: safetensors and tokenizers, numpy, SQLite."""
ROOM = 4 * 2**20
"""Bytes: a disk without room for so many is full for whoever keeps state, logs or checkpoints on it."""


class DiskFullError(InfrastructureError):
    """There is no room on the disk; what was there before is untouched."""


def is_full(error: BaseException) -> bool:
    """Whether it came, at whatever distance, of a full disk, or of a quota that is used up."""
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
    """Within it, a full disk is a DiskFullError.

    Args:
        what: is written.
        folder: where.
        need: bytes of it, if that is known.

    Raises:
        DiskFullError: with the sum.
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
    """Whether so much can be written there now, by trying: a quota and used-up inodes count. Without the right to try: yes."""
    try:
        with tempfile.TemporaryFile(dir=_there(folder)) as file:
            file.write(os.urandom(num_bytes))  # some file systems store zeros in no room
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in NUMBERS
    return True


def full_disk(error: BaseException, places: Iterable[Path]) -> DiskFullError | None:
    """What to say of a run that ended badly for no reason that it names (half of a file, a process that is gone) if one of the

    places where it and its libraries write is full; None if none is, or if the error says itself what is wrong.
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
    """Within it, an error that does not name its cause is a DiskFullError if one of the places has no room.

    Raises:
        DiskFullError: as `full_disk` says.
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
    """Megabytes."""
    return shutil.disk_usage(_there(folder)).free / 1e6
