"""A file of lines that outlives whoever writes to it: a kill, several writers, a full disk."""

import fcntl
import os
import time
from pathlib import Path

LOCK_SECONDS = 0.5
"""A writer that is stopped with the lock must not stop the others."""


class Lines:
    """Appended line by line. Lines of several processes do not mix; those that a full disk has no room for wait in memory."""

    def __init__(self, path: Path) -> None:
        self._path, self._waiting = path, b""
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, line: bytes) -> None:
        """One line, without its end. A line that another writer was killed in is ended first, so that this one is whole."""
        self._waiting += line + b"\n"
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _lock(descriptor)  # ends with the descriptor
                size = os.fstat(descriptor).st_size
                cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                content = b"\n" * cut + self._waiting
                if os.write(descriptor, content) < len(content):
                    os.ftruncate(descriptor, size)  # all of it later
                else:
                    self._waiting = b""
            finally:
                os.close(descriptor)
        except OSError:
            pass  # written with the next line


def _lock(descriptor: int) -> None:
    """Take the file's lock, or after a while go on without: one write is whole on most file systems."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        except OSError:
            return  # a file system without locks
