"""RaBitQ: a few bits a coordinate after a random rotation, and an unbiased estimate of the inner product with a known bound.

Gao & Long, SIGMOD 2024 (one bit, arXiv:2405.12497); Gao et al., SIGMOD 2025 (more bits, arXiv:2409.09913).
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempembed.codecs.bits import random_rotation
from tempembed.codecs.corrected import BLOCK_ROWS, CorrectedCodec

BITS = (1, 2, 4)
SCALES = torch.linspace(0.6, 1.6, 24)
"""Of a vector, times the best step for normally distributed coordinates: the nearest direction is looked for among these."""
STEP = {1: 1.596, 2: 0.995, 4: 0.335}
"""That step, in standard deviations, by bits."""
EPSILON = 1.9
"""The bound holds but with a chance that falls as exp(-EPSILON^2 / 2); the paper's choice."""


class RaBitQ(CorrectedCodec):
    """B bits a coordinate and 8 bytes: a scale, and the exact rest of the score.

    o = R (d - c) / |d - c|, for a random rotation R, is kept as the grid point x of {-(2^B - 1), ..., 2^B - 1} / 2 whose direction is
    near to it. <q - c, d - c> is estimated as |d - c| / <x, o> <R (q - c), x>, which is right on average over rotations.
    """

    name = "rabitq"
    title = "RaBitQ"
    family = "one bit, corrected"
    bits = 1
    takes_argument = True
    corrections: ClassVar[tuple[str, ...]] = ("scale", "rest")
    correction_bytes = 8

    @classmethod
    def within(cls, budget: int, full: int) -> tuple[int, int] | None:
        """As many coordinates as fit, at the fewest bits that fill the budget."""
        for bits in BITS:
            width = 8 * (budget - cls.correction_bytes) // bits
            if 1 <= width <= full and cls.size(width, bits) == budget:
                return width, bits
        return None

    @classmethod
    def refusal(cls, width: int, argument: int) -> str | None:
        """1, 2 or 4 bits."""
        return None if argument in BITS else f"rabitq needs {', '.join(map(str, BITS))} bits, got {argument}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"centre": (self.width,), "rotation": (self.width, self.width)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """The mean of the documents, and a rotation by seed 0."""
        self.state = {"centre": documents_MK.mean(0), "rotation": random_rotation(self.width)}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """Levels, the scale of the estimate, and the exact rest."""
        rest = self.rest(documents_MK)
        parts = []
        for rows, beside in zip(documents_MK.split(BLOCK_ROWS), rest.split(BLOCK_ROWS), strict=True):
            rotated = (rows - self.state["centre"]) @ self.state["rotation"]
            levels = nearest_levels(rotated, self.argument)
            along = (self._grid(levels) * rotated).sum(1)
            length = rotated.square().sum(1)
            scale = torch.where(along > 0, length / along.clamp_min(1e-30), 0.0)  # |d - c| / <x, o>
            parts.append(self.join(levels.int(), torch.stack([scale, beside], dim=1)))
        return torch.cat(parts)

    def scored(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M V"]:
        """The scaled grid points, and the exact rest."""
        vectors, rest = self._vectors(codes)
        return self.whole(vectors, rest)

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """The documents whose inner products are the estimates."""
        return self._vectors(codes)[0] @ self.state["rotation"].T + self.state["centre"]

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q V"]:
        """Centred and rotated, in float32."""
        return self.asked((queries_QK - self.state["centre"]) @ self.state["rotation"], queries_QK)

    def bound(self, documents_MK: Float[Tensor, "M K"]) -> Float[Tensor, " M"]:
        """What the estimate for a document misses by at most, for a query of |q - c| = 1, but with a small chance.

        |d - c| sqrt((1 - s^2) / s^2) EPSILON / sqrt(K - 1), where s is the cosine of x and o.
        """
        rotated = (documents_MK - self.state["centre"]) @ self.state["rotation"]
        cosine = torch.nn.functional.cosine_similarity(
            self._grid(nearest_levels(rotated, self.argument)), rotated
        )
        missed = (1 - cosine.square()).clamp_min(0).sqrt() / cosine
        return rotated.norm(dim=1) * missed * EPSILON / math.sqrt(max(1, self.width - 1))

    def _grid(self, levels_MK: Tensor) -> Tensor:
        return levels_MK - (2**self.argument - 1) / 2

    def _vectors(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        levels, beside = self.split(codes)
        return self._grid(levels) * beside[:, :1], beside[:, 1]


def nearest_levels(rows_MK: Float[Tensor, "M K"], bits: int) -> Float[Tensor, "M K"]:
    """The grid point, by its levels 0 to 2^bits - 1, whose direction is nearest to each row."""
    most = 2**bits - 1
    spread = rows_MK.square().mean(1, keepdim=True).sqrt().clamp_min(1e-30)
    best_cosine = torch.full((len(rows_MK), 1), -torch.inf)
    best = torch.zeros_like(rows_MK)
    for scale in SCALES.tolist() if bits > 1 else [1.0]:
        levels = (rows_MK / (spread * STEP[bits] * scale) + most / 2).round_().clamp_(0, most)
        grid = levels - most / 2
        cosine = (grid * rows_MK).sum(1, keepdim=True) / grid.norm(dim=1, keepdim=True)
        better = cosine > best_cosine
        best, best_cosine = torch.where(better, levels, best), torch.where(better, cosine, best_cosine)
    return best
