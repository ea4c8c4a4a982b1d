"""One process at a time makes a folder that several want, and what an interrupted one left is gone on with."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FORGOTTEN_SECONDS = 7 * 24 * 3600
LOCK = "lock"


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Wait until no other process makes this folder; gives the folder beside it where it is made, which the caller removes once it is.

    Work folders that were left a week ago are forgotten.
    """
    work = folder.with_name(f".{folder.name}")
    with _opened(work) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process makes {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for old in folder.parent.glob(f".*/{LOCK}"):
            if old.parent != work and time.time() - old.parent.stat().st_mtime > FORGOTTEN_SECONDS:
                shutil.rmtree(old.parent, ignore_errors=True)
        try:
            yield work
        finally:
            with suppress(OSError):
                if [path.name for path in work.iterdir()] == [LOCK]:
                    shutil.rmtree(work)


def _opened(work: Path) -> IO[str]:
    while True:
        work.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the process that made the folder removed this one meanwhile
            return (work / LOCK).open("a")
