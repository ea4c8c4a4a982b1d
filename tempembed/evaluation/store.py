"""Embeddings on disk, by content: a text goes through a model once, whatever task or codec asks for it again."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.role import Role, RoleName
from tempembed.system.checksums import sha256
from tempembed.system.console import Progress

PART_ROWS = 16_384
CHUNK_ROWS = 4096
"""Texts of a part that `embed_to` writes."""


class EmbeddingStore:
    """A folder for each model; in it parts of (text hashes, float32 embeddings), each written whole or not at all.

    A part's name is a sum of its content, and one that is not what its name says is embedded again. Two processes
    may write at once: at worst both embed the same text.
    """

    def __init__(self, root: Path, encoder: Encoder, say: Callable[[str], None] = lambda _: None) -> None:
        self._encoder, self._say = encoder, say
        self.fingerprint = encoder.fingerprint()
        self.folder = root / self.fingerprint
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._unread: dict[Path, np.ndarray] = {}
        """The keys of the parts whose content nobody has looked at."""
        for keys in sorted(self.folder.glob("*.keys.npy")):
            rows = keys.with_name(keys.name.replace(".keys.", ".rows."))
            if (found := self._read(keys, rows)) is None:
                self._drop(rows)
            else:
                self._remember(rows, found)
                self._unread[rows] = found

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self._encoder.width

    def _read(self, keys: Path, rows: Path) -> np.ndarray | None:
        """The keys of a part, if both of its files have the shapes that were written."""
        try:
            found, there = np.load(keys), np.load(rows, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        good = found.dtype == np.uint8 and found.ndim == 2 and found.shape[1] == 32
        return (
            found if good and there.dtype == np.float32 and there.shape == (len(found), self.width) else None
        )

    def _remember(self, rows: Path, keys: np.ndarray) -> None:
        for place, key in enumerate(keys):
            self._places[key.tobytes()] = rows, place

    def embed(self, texts: Sequence[str], role: RoleName, prompt: str | None = None) -> Float[Tensor, "M D"]:
        """float32 embeddings; only texts that no earlier call saw go through the model.

        Args:
            texts: without a prompt.
            role: of the texts.
            prompt: in place of the role's own.
        """
        how = self._encoder.role(role, prompt)
        salt = f"{self._encoder.tower(role)}{how.prompt!r} {how.max_tokens} "
        keys = [hashlib.sha256((salt + text).encode("utf-8", "surrogatepass")).digest() for text in texts]
        self._drop_damaged({self._places[key][0] for key in keys if key in self._places})
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._places}
        self._encode_missing(list(missing), list(missing.values()), how)
        found = torch.empty(len(texts), self._encoder.width)
        by_part: dict[Path, list[tuple[int, int]]] = {}
        for row, key in enumerate(keys):
            part, place = self._places[key]
            by_part.setdefault(part, []).append((row, place))
        for part, pairs in by_part.items():
            rows, places = (np.array(side) for side in zip(*pairs, strict=True))
            found[torch.from_numpy(rows)] = torch.from_numpy(np.load(part, mmap_mode="r")[places])
        return found

    def embed_to(self, path: Path, texts: Sequence[str], role: RoleName) -> Float[Tensor, "M D"]:
        """Unit embeddings in a new file, memory-mapped: some texts are held at a time; what was embedded stays in the store.

        Args:
            path: of the file, raw float32.
            texts: at least one, without a prompt.
            role: of the texts.
        """
        rows = np.memmap(path, np.float32, "w+", shape=(len(texts), self.width))
        progress = Progress("embedded", f"{role} texts", len(texts), self._say)
        for low in range(0, len(texts), CHUNK_ROWS):
            part = texts[low : low + CHUNK_ROWS]
            rows[low : low + len(part)] = torch.nn.functional.normalize(self.embed(part, role), dim=1).numpy()
            progress.add(len(part))
        rows.flush()
        return torch.from_numpy(rows)

    def _drop_damaged(self, parts: set[Path]) -> None:
        for rows in parts & self._unread.keys():
            keys = self._unread.pop(rows)
            if not _is_whole(keys, rows):
                self._drop(rows)
                self._places = {key: place for key, place in self._places.items() if place[0] != rows}

    def _drop(self, rows: Path) -> None:
        self._say(f"{rows} is damaged, or of an earlier version: its texts are embedded again")
        rows.with_name(rows.name.replace(".rows.", ".keys.")).unlink(missing_ok=True)
        rows.unlink(missing_ok=True)

    def _encode_missing(self, keys: list[bytes], texts: list[str], role: Role) -> None:
        progress = Progress("embedded", "texts", len(texts), self._say)
        for start in range(0, len(texts), PART_ROWS):
            part = slice(start, start + PART_ROWS)
            embeddings = self._encoder.embed(self._encoder.prepare(texts[part], role))
            if len(texts) > PART_ROWS:
                progress.add(len(embeddings))
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f".{uuid4().hex}.npy"
            array = np.frombuffer(b"".join(keys[part]), dtype=np.uint8).reshape(-1, 32)
            try:
                np.save(partial, embeddings.numpy())
                name = _name(array, partial)
                rows = partial.rename(self.folder / f"{name}.rows.npy")
                np.save(partial, array)  # the keys appear last: without them nobody reads the rows
                partial.rename(self.folder / f"{name}.keys.npy")
            finally:
                partial.unlink(missing_ok=True)
            self._remember(rows, array)


def _is_whole(keys: np.ndarray, rows: Path) -> bool:
    try:
        return f"{_name(keys, rows)}.rows.npy" == rows.name
    except OSError:  # another process has found it damaged and removed it
        return False


def _name(keys: np.ndarray, rows: Path) -> str:
    """The name of a part: a hash of its content."""
    return hashlib.sha256(keys.tobytes() + sha256(rows).encode()).hexdigest()[:32]
