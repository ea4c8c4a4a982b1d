"""Files of pictures in the cache, each by its pixels. A picture stands among texts as its name, `picture:` and 32 hex digits.

A name says which pixels a picture has, so equal pictures have one name, whatever files, roles and data sets they are in; what
finds equal texts finds equal pictures.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np

from tempembed.inputs.pictures import Fit, decoded, fitted, pixel_digest
from tempembed.inputs.pixels import Pixels
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError

MARK = "picture:"
NAME = re.compile(rf"{MARK}[0-9a-f]{{32}}( .*)?", re.DOTALL)
"""A title may follow, by which a reader knows a picture; only texts to search in have one."""
_BARE = len(MARK) + 32
PACK_BYTES = 256 * 2**20
"""Of the files that are held before they are written."""
ENTRY = np.dtype([("pixels", "S32"), ("content", "S32"), ("start", "<i8"), ("length", "<i8")])
"""Hex digits of a picture's pixels and of its file's bytes, and where these are in the pack."""
DECODE_ROWS = 2048


def is_picture(text: object) -> bool:
    """Whether a text is the name of a picture."""
    return isinstance(text, str) and text.startswith(MARK) and NAME.fullmatch(text) is not None


def titled(name: str, title: str) -> str:
    """The name of a picture with a title."""
    return f"{name} {title}"


def title_of(name: str) -> str:
    """The title of a picture, or its name without one; a text is its own.

    >>> title_of(titled(MARK + 32 * "0", "a cat")), title_of("a text")
    ('a cat', 'a text')
    """
    return name[_BARE:].strip() or name if is_picture(name) else name


def kept_pictures() -> "PictureStore":
    """The store of the cache, to read from: its index is read once in a process, and finds what is added later."""
    return _opened(cache_dir() / "pictures")


class PictureStore:
    """A folder of packs: many files of pictures in one, with an index that is written last. Several processes may add at once.

    Args:
        folder: of the packs; default `pictures` in the cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir() / "pictures"
        self._names: dict[bytes, bytes] = {}
        """By digest of a file's bytes, that of its pixels."""
        self._places: dict[bytes, tuple[Path | None, int, int]] = {}
        """By digest of the pixels: pack, start, length; without a pack: held."""
        self._held: list[bytes] = []
        self._entries: list[tuple[bytes, bytes, int, int]] = []
        self._size = 0
        self._seen: set[Path] = set()
        self._look()

    def _look(self) -> None:
        """Learn of packs that are new."""
        for path in sorted(self.folder.glob("*.npy")):
            if path in self._seen:
                continue
            self._seen.add(path)
            pack = path.with_suffix(".bin")
            try:
                entries = np.load(path)
                whole = entries.dtype == ENTRY and pack.stat().st_size == int(entries["length"].sum())
            except (OSError, ValueError, EOFError):
                continue
            for pixels, content, start, length in entries.tolist() if whole else ():
                self._names[content] = pixels
                self._places.setdefault(pixels, (pack, start, length))

    def name(self, content: bytes) -> str:
        """The name of the picture in a file's bytes, which are kept.

        Raises:
            BadPicture: it cannot be read.
        """
        digest = hashlib.blake2b(content, digest_size=16).hexdigest().encode()
        pixels = self._names.get(digest)
        if pixels is None:
            pixels = pixel_digest(decoded(content)).hex().encode()
            self._names[digest] = pixels
            self._places.setdefault(pixels, (None, len(self._held), len(content)))
            self._entries.append((pixels, digest, self._size, len(content)))
            self._held.append(content)
            self._size += len(content)
            if self._size > PACK_BYTES:
                self.flush()
        return MARK + pixels.decode()

    def flush(self) -> None:
        """Write what was added."""
        if not self._entries:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content, entries = b"".join(self._held), np.array(self._entries, ENTRY)
        stem = hashlib.sha256(entries.tobytes()).hexdigest()[:32]
        partial = self.folder / f".{uuid4().hex}"
        try:
            for suffix, write in ((".bin", content), (".npy", entries)):
                with partial.open("wb") as file:
                    file.write(write) if isinstance(write, bytes) else np.save(file, write)
                partial.rename(self.folder / f"{stem}{suffix}")
        finally:
            partial.unlink(missing_ok=True)
        self._held, self._entries, self._size = [], [], 0
        self._places = {name: place for name, place in self._places.items() if place[0] is not None}
        self._look()

    def contents(self, names: Iterable[str]) -> list[bytes]:
        """The file's bytes of each picture.

        Raises:
            UserError: a picture that is not there.
        """
        wanted = [name[len(MARK) : _BARE].encode() for name in names]
        if any(pixels not in self._places for pixels in wanted):
            self._look()
        packs: dict[Path, np.ndarray] = {}
        found = []
        for pixels in wanted:
            if pixels not in self._places:
                raise UserError(
                    f"{MARK}{pixels.decode()}: expected a picture of the cache {self.folder}, got a name that it has not: read the "
                    "data again there, or set TEMPEMBED_CACHE to where it was read"
                )
            pack, start, length = self._places[pixels]
            if pack is None:
                found.append(self._held[start])
                continue
            if pack not in packs:
                packs[pack] = np.memmap(pack, np.uint8, "r")
            found.append(packs[pack][start : start + length].tobytes())
        return found

    def pixels(self, names: Sequence[str], fit: Fit) -> Pixels:
        """The pictures of a size, each once.

        Raises:
            UserError: a picture that is not there.
        """
        first: dict[str, int] = {}
        index = np.array([first.setdefault(name, len(first)) for name in names], np.int64)
        distinct = list(first)
        pictures = np.empty((len(distinct), fit.side, fit.side, 3), np.uint8)

        def fill(start: int) -> None:
            contents = self.contents(distinct[start : start + DECODE_ROWS])
            for row, content in enumerate(contents, start):
                pictures[row] = fitted(decoded(content), fit)

        with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
            list(pool.map(fill, range(0, len(distinct), DECODE_ROWS)))
        return Pixels(pictures=pictures, index=index)


@cache
def _opened(folder: Path) -> PictureStore:
    return PictureStore(folder)
