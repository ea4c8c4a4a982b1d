"""How much a file may ask for: what it says of its sizes is checked against the memory there is."""

import csv
import gzip
import io
import resource
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, AnyStr, cast

import psutil

from tempembed.system.errors import UserError
from tempembed.system.untrusted import require_file
from tempembed.system.wording import first_line

LINE_BYTES = 16 * 2**20
"""The longest line or cell; an encoder reads the first few thousand characters of a text."""
UNPACKED_BYTES = 2**30
"""Any file may grow to so many bytes, however small it is."""
RATIO = 1000
"""How many times larger than its file data may be; text is packed to a tenth, and rarely to a hundredth."""


def room() -> int:
    """Bytes that data may take: half of the memory that is free, for what is made of it is as large again."""
    free = psutil.virtual_memory().available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    return max(0, free // 2)


def data_limit(path: Path, *, kept: bool) -> int:
    """Bytes that the data of a file may take once it is read.

    Args:
        path: the file.
        kept: whether the caller keeps all that it reads, or a part at a time.
    """
    limit = max(UNPACKED_BYTES, RATIO * path.stat().st_size)
    return min(limit, room()) if kept else limit


def require_room(size: int, limit: int, source: str) -> None:
    """Raise UserError if data of this size is larger than the limit."""
    if size > limit:
        raise UserError(
            f"{source}: expected data of at most {limit / 1e9:,.1f} GB (half of the free memory, and {RATIO:,} times the "
            f"file), got {size / 1e9:,.1f} GB or more once it is read; split the file, or check where it comes from"
        )


def lines(
    file: IO[AnyStr],
    source: str,
    unit: str = "bytes",
    advice: str = "put one row on a line, or cut its texts",
) -> Iterator[AnyStr]:
    """The lines of a file, none read beyond 16 Mi bytes or characters.

    Raises:
        UserError: a longer one, with what to do.
    """
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise UserError(
                f"{source}, line {number}: expected lines of at most {LINE_BYTES:,} {unit}, got a longer one: {advice}"
            )
        yield line


def cut_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, a longer one cut to LINE_BYTES + 1 bytes, for the caller to reject; the rest of it is passed over."""
    while line := file.readline(LINE_BYTES + 1):
        rest = line
        while len(rest) >= LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES)
        yield line


def is_packed(path: Path) -> bool:
    """Whether the name says gzip."""
    return path.suffix.lower() == ".gz"


@contextmanager
def open_bytes(path: Path, *, kept: bool) -> Iterator[IO[bytes]]:
    """The bytes of a plain file; those of a .gz unpacked, as far as data may be larger than its file.

    Args:
        path: the file.
        kept: whether the caller keeps all that it reads, or a part at a time.
    """
    with require_file(path).open("rb") as file:
        if not is_packed(path):
            yield file
            return
        unpacked = _Unpacked(file, data_limit(path, kept=kept), str(path))
        yield io.BufferedReader(unpacked, 2**18)


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, up to a limit of bytes."""

    def __init__(self, file: IO[bytes], limit: int, source: str) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._limit, self._source, self._size = limit, source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{self._source}: expected a whole gzip file, it is damaged, cut off or something else "
                f"({first_line(error)}): pack or copy it again"
            ) from error
        self._size += len(content)
        require_room(self._size, self._limit, self._source)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def text_lines(path: Path, *, kept: bool = True) -> Iterator[Iterator[str]]:
    """The lines of a file of text, ends kept; cells of CSV may be as long as a line.

    Bytes that are not UTF-8 stay recognisable (surrogateescape): they cost a row and not the file.
    """
    limit = csv.field_size_limit(LINE_BYTES)
    try:
        with open_bytes(path, kept=kept) as content:
            file = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield lines(
                cast(IO[str], file), str(path), "characters", "end rows with a line break, or cut their texts"
            )
    finally:
        csv.field_size_limit(limit)
