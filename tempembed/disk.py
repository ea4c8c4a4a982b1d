"""A full disk, as an error that says what to do."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempembed.errors import LostError, UserError

NUMBERS = (errno.ENOSPC, errno.EDQUOT)
WORDS = re.compile(
    rf"No space left|os error 28|quota exceeded|os error {errno.EDQUOT}|Not enough free space|\d+ requested and \d+ written"
    "|database or disk is full"
)
"""What libraries say that keep no number: safetensors and tokenizers, numpy, SQLite."""


class DiskFullError(LostError):
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
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        expected = "room" if need is None else f"{need / 1e6:,.1f} MB"
        raise DiskFullError(
            f"{what} in {folder}: expected {expected} of disk, got {shutil.disk_usage(there).free / 1e6:,.1f} MB "
            f"({error}); make room, and give the same command again: nothing that was there before is lost"
        ) from error
