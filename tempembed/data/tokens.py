"""Token ids of many texts as two flat arrays, made once and memory-mapped by every trial and worker."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Text i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray
    """int32, all texts one after the other."""
    offsets: np.ndarray
    """int64, one more than there are texts."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, rows: np.ndarray) -> "Tokens":
        """The texts of these rows, in this order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Tokens(ids=self.ids[places], offsets=offsets)

    @staticmethod
    def from_lists(lists: list[list[int]]) -> "Tokens":
        """From one list of ids per text."""
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(ids) for ids in lists], out=offsets[1:])
        ids = np.fromiter((i for ids in lists for i in ids), np.int32, count=int(offsets[-1]))
        return Tokens(ids=ids, offsets=offsets)

    @staticmethod
    def concatenate(parts: "list[Tokens]") -> "Tokens":
        """All texts of all parts."""
        lengths = [np.diff(part.offsets) for part in parts]
        offsets = np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)
        ids = np.concatenate([np.empty(0, np.int32), *(part.ids for part in parts)])
        return Tokens(ids=ids, offsets=offsets)

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.ids.npy` and `<name>.offsets.npy`."""
        np.save(folder / f"{name}.ids.npy", self.ids)
        np.save(folder / f"{name}.offsets.npy", self.offsets)

    @staticmethod
    def load(folder: Path, name: str) -> "Tokens":
        """Memory-map what `save` wrote."""
        return Tokens(
            ids=np.load(folder / f"{name}.ids.npy", mmap_mode="r"),
            offsets=np.load(folder / f"{name}.offsets.npy"),
        )
