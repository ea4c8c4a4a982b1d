"""Pictures of one size as uint8, each once, made once and memory-mapped by every trial and worker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempembed.inputs.files import join_arrays

PATCH = 16
"""Side of the square of pixels that counts as a token does, as in a vision transformer (Dosovitskiy et al. 2021)."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Row i shows `pictures[index[i]]`."""

    pictures: np.ndarray
    """uint8 [U, H, W, 3], red, green and blue."""
    index: np.ndarray
    """int64 of each row; -1: it has none, and is black."""
    views: np.ndarray | None = None
    """float32 [rows, 2, 3] for `torch.nn.functional.affine_grid`: from where a row's pixels are taken; None: as they are."""
    tower: str = ""
    """Which tower of an encoder takes them; empty where it has one."""

    def __len__(self) -> int:
        return len(self.index)

    def select(self, rows: np.ndarray) -> "Pixels":
        """The pictures of these rows, in this order."""
        return replace(self, index=self.index[rows], views=None if self.views is None else self.views[rows])

    def seen(self, views: np.ndarray) -> "Pixels":
        """The same rows, each by its view."""
        return replace(self, views=views)

    def shown(self) -> np.ndarray:
        """uint8 [rows, H, W, 3] before any view, in new memory."""
        shown = np.zeros((len(self), *self.pictures.shape[1:]), np.uint8)
        has = self.index >= 0
        shown[has] = self.pictures[self.index[has]]
        return shown

    def chunks(self, budget: int, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through the encoder together, in their order.

        Args:
            budget: most patches of 16 x 16 pixels of a chunk.
            split: makes no difference, as all are of one size.
        """
        size = max(1, budget // self.patches)
        return [np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    @property
    def patches(self) -> int:
        """Patches of 16 x 16 pixels that a picture has, at least one."""
        _, height, width, _ = self.pictures.shape
        return max(1, height * width // PATCH**2)

    def at(self, present: np.ndarray) -> "Pixels":
        """These rows where `present` (bool) is true, black ones elsewhere."""
        index = np.full(len(present), -1, np.int64)
        index[present] = self.index
        return replace(self, index=index)

    @classmethod
    def concatenate(cls, parts: "Sequence[Pixels]") -> "Pixels":
        """All rows of all parts, which are for one tower and of one size; with views of all or of none."""
        firsts = np.cumsum([0, *(len(part.pictures) for part in parts)])
        index = [
            np.where(part.index < 0, -1, part.index + first)
            for part, first in zip(parts, firsts, strict=False)
        ]
        (tower,) = {part.tower for part in parts}
        views = [part.views for part in parts if part.views is not None]
        assert len(views) in (0, len(parts)), "rows with views and rows without do not mix"
        return cls(
            pictures=np.concatenate([part.pictures for part in parts]), index=np.concatenate(index),
            views=np.concatenate(views) if views else None, tower=tower,
        )  # fmt: skip

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.pictures.npy`, `<name>.index.npy` and, where there is one, `<name>.tower`; views are not kept."""
        if self.tower:
            (folder / f"{name}.tower").write_text(self.tower)
        np.save(folder / f"{name}.pictures.npy", self.pictures)
        np.save(folder / f"{name}.index.npy", self.index)

    @staticmethod
    def join(folders: Sequence[Path], target: Path, name: str) -> None:
        """What `save` wrote into several folders as one, without holding it; a picture of several is there several times."""
        pictures, index, tower = (
            [folder / f"{name}.{what}" for folder in folders]
            for what in ("pictures.npy", "index.npy", "tower")
        )
        join_arrays(pictures, target / pictures[0].name)
        first, parts = 0, list[np.ndarray]()
        for rows, shown in zip(index, pictures, strict=True):
            numbers = np.load(rows)
            parts.append(np.where(numbers < 0, -1, numbers + first))
            first += len(np.load(shown, mmap_mode="r"))
        np.save(target / index[0].name, np.concatenate(parts))
        if tower[0].exists():
            (target / tower[0].name).write_text(tower[0].read_text())

    @staticmethod
    def load(folder: Path, name: str) -> "Pixels":
        """Memory-map what `save` wrote."""
        tower = folder / f"{name}.tower"
        return Pixels(
            pictures=np.load(folder / f"{name}.pictures.npy", mmap_mode="r"),
            index=np.load(folder / f"{name}.index.npy"),
            tower=tower.read_text() if tower.exists() else "",
        )
