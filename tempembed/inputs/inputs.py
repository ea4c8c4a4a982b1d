"""What goes into an encoder: rows of one modality, made once from texts or pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np


class Inputs(Protocol):
    """Rows for one tower of an encoder, such as `Tokens`."""

    @property
    def tower(self) -> str:
        """Which tower of the encoder takes them; empty where it has one."""

    def __len__(self) -> int: ...

    def select(self, rows: np.ndarray) -> Self:
        """These rows, in this order."""

    def chunks(self, budget: int, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through the encoder together.

        Args:
            budget: most elements of a chunk, padding included.
            split: keep to the budget even where that saves nothing but memory.
        """

    def at(self, present: np.ndarray) -> Self:
        """These rows where `present` (bool) is true, empty rows elsewhere."""

    def save(self, folder: Path, name: str) -> None:
        """Write files of this name, which can be memory-mapped."""

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All rows of all parts, which are for one tower."""


def by_tower(parts: Sequence[Inputs]) -> list[Inputs]:
    """Neighbouring parts for one tower joined, in their order: rows stay where they are."""
    joined: list[list[Inputs]] = []
    for part in parts:
        if joined and joined[-1][0].tower == part.tower and type(joined[-1][0]) is type(part):
            joined[-1].append(part)
        else:
            joined.append([part])
    return [type(group[0]).concatenate(group) if len(group) > 1 else group[0] for group in joined]
