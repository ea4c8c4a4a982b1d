"""A file of lines that outlives whoever writes to it: a kill, several writers, a full disk."""

import os
from pathlib import Path


class Lines:
    """Appended line by line. Lines of several processes do not mix; those that a full disk has no room for wait in memory."""

    def __init__(self, path: Path) -> None:
        """Append to a file; a line that a writer was killed in is ended, so that the next one is whole."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._waiting = b"\n" if _is_cut(path) else b""

    def append(self, line: bytes) -> None:
        """One line, without its end."""
        self._waiting += line + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                written = os.write(descriptor, self._waiting)  # one call
            finally:
                os.close(descriptor)
            self._waiting = self._waiting[written:]
        except OSError:
            pass  # written with the next line


def _is_cut(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
