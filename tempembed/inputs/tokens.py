"""Token ids of many texts as flat arrays, made once and memory-mapped by every trial and worker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempembed.inputs.chunks import length_sorted_chunks
from tempembed.inputs.files import join_arrays, join_offsets


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Text i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray
    """int32, all texts one after the other."""
    offsets: np.ndarray
    """int64, one more than there are texts."""
    counts: np.ndarray | None = None
    """int32 beside `ids`, where the order of a text's tokens does not matter (`as_bags`): how often each occurs."""
    unpooled: np.ndarray | None = None
    """int32 for each text: its first tokens that pooling leaves out, a prompt's; None: none of any text."""
    tower: str = ""
    """Which tower of an encoder takes them; empty where it has one."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, rows: np.ndarray) -> "Tokens":
        """The texts of these rows, in this order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        counts = None if self.counts is None else self.counts[places]
        unpooled = None if self.unpooled is None else self.unpooled[rows]
        return replace(self, ids=self.ids[places], offsets=offsets, counts=counts, unpooled=unpooled)

    def chunks(self, budget: int, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through the encoder together, of like length; bags, which are not padded, all at once.

        Args:
            budget: most tokens of a chunk, padding included.
            split: keep to the budget with bags too.
        """
        if (
            self.counts is not None and not split
        ):  # one look-up for all: its gradient is as large as the table
            return [np.arange(len(self))]
        return length_sorted_chunks(np.diff(self.offsets), budget)

    def at(self, present: np.ndarray) -> "Tokens":
        """These texts where `present` (bool) is true, texts without a token elsewhere."""
        lengths = np.zeros(len(present), np.int64)
        lengths[present] = np.diff(self.offsets)
        unpooled = None
        if self.unpooled is not None:
            unpooled = np.zeros(len(present), np.int32)
            unpooled[present] = self.unpooled
        offsets = np.append(0, np.cumsum(lengths))
        return replace(self, offsets=offsets, unpooled=unpooled)

    def as_bags(self) -> "Tokens":
        """Each text's distinct tokens, ascending, with their counts: for an encoder that ignores order."""
        texts = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        span = int(self.ids.max(initial=0)) + 1
        keys, counts = np.unique(texts * span + self.ids, return_counts=True)
        offsets = np.searchsorted(keys, np.arange(len(self) + 1) * span)
        ids, counts = (keys % span).astype(np.int32), counts.astype(np.int32)
        return replace(self, ids=ids, offsets=offsets, counts=counts)

    @staticmethod
    def from_lists(lists: list[list[int]]) -> "Tokens":
        """From one list of ids per text."""
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(ids) for ids in lists], out=offsets[1:])
        ids = np.fromiter((i for ids in lists for i in ids), np.int32, count=int(offsets[-1]))
        return Tokens(ids=ids, offsets=offsets)

    @classmethod
    def concatenate(cls, parts: "Sequence[Tokens]") -> "Tokens":
        """All texts of all parts, which are for one tower."""
        lengths = [np.diff(part.offsets) for part in parts]
        offsets = np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)
        ids = np.concatenate([np.empty(0, np.int32), *(part.ids for part in parts)])
        counted = [part.counts for part in parts if part.counts is not None]
        assert len(counted) in (0, len(parts)), "bags and sequences do not mix"
        (tower,) = {part.tower for part in parts} or {""}
        unpooled = None
        if any(part.unpooled is not None for part in parts):
            each = [np.zeros(len(p), np.int32) if p.unpooled is None else p.unpooled for p in parts]
            unpooled = np.concatenate(each)
        counts = np.concatenate(counted) if counted else None
        return cls(ids=ids, offsets=offsets, counts=counts, unpooled=unpooled, tower=tower)

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.ids.npy`, `<name>.offsets.npy` and, where there are any, `.counts.npy`, `.unpooled.npy`, `.tower`."""
        if self.tower:
            (folder / f"{name}.tower").write_text(self.tower)
        np.save(folder / f"{name}.ids.npy", self.ids)
        np.save(folder / f"{name}.offsets.npy", self.offsets)
        for what, array in (("counts", self.counts), ("unpooled", self.unpooled)):
            if array is not None:
                np.save(folder / f"{name}.{what}.npy", array)

    @staticmethod
    def join(folders: Sequence[Path], target: Path, name: str) -> None:
        """What `save` wrote into several folders as one, without holding it."""
        offsets, tower, *arrays = (
            [folder / f"{name}.{what}" for folder in folders]
            for what in ("offsets.npy", "tower", "ids.npy", "counts.npy", "unpooled.npy")
        )
        join_offsets(offsets, target / offsets[0].name)
        for paths in arrays:
            if paths[0].exists():
                join_arrays(paths, target / paths[0].name)
        if tower[0].exists():
            (target / tower[0].name).write_text(tower[0].read_text())

    @staticmethod
    def load(folder: Path, name: str) -> "Tokens":
        """Memory-map what `save` wrote."""
        tower = folder / f"{name}.tower"
        counts, unpooled = folder / f"{name}.counts.npy", folder / f"{name}.unpooled.npy"
        return Tokens(
            ids=np.load(folder / f"{name}.ids.npy", mmap_mode="r"),
            offsets=np.load(folder / f"{name}.offsets.npy"),
            counts=np.load(counts, mmap_mode="r") if counts.exists() else None,
            unpooled=np.load(unpooled) if unpooled.exists() else None,
            tower=tower.read_text() if tower.exists() else "",
        )
