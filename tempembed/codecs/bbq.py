"""Better binary quantisation: int4 queries against centred bits, each with an interval of its own (Lucene, Elasticsearch)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tempembed.codecs.corrected import BLOCK_ROWS, CorrectedCodec

QUERY_BITS = 4
START = {1: 0.798, 4: 2.514}
"""Half of the first interval, in standard deviations: the best uniform grid of so many bits for a normal distribution."""
TOWARDS_ALL = 0.1
"""Weight of the whole squared error; the rest is that of the error along the vector, which changes the scores of its neighbours."""
ROUNDS = 5


class BBQ(CorrectedCodec):
    """One bit a coordinate and 14 bytes: the ends of its interval, <d, c>, and the number of ones.

    The interval [a, b] of a vector minimises 0.9 <x, x - x'>^2 / |x|^2 + 0.1 |x - x'|^2, where x' rounds x to the levels between a
    and b, by coordinate descent: the levels for given ends, then the ends for given levels (Lucene's optimised scalar quantiser).
    """

    name = "bbq"
    title = "centred bits, int4 query (BBQ)"
    family = "one bit, corrected"
    bits = 1
    corrections: ClassVar[tuple[str, ...]] = ("low", "high", "rest")
    correction_bytes = 14

    @classmethod
    def within(cls, budget: int, full: int) -> tuple[int, int] | None:
        """Bits for all but 14 bytes."""
        width = 8 * (budget - cls.correction_bytes)
        return (width, 0) if 1 <= width <= full else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"centre": (self.width,)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """The mean of the documents."""
        self.state = {"centre": documents_MK.mean(0)}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """Bits, the ends of each document's interval, and the exact rest of its score."""
        centred = documents_MK - self.state["centre"]
        levels, ends = rounded(centred, self.bits)
        return self.join(levels, torch.cat([ends, self.rest(documents_MK)[:, None]], dim=1))

    def scored(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M V"]:
        """The centred documents as they were rounded, and the exact rest."""
        vectors, rest = self._vectors(codes)
        return self.whole(vectors, rest)

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """The documents as they were rounded."""
        return self._vectors(codes)[0] + self.state["centre"]

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q V"]:
        """Rounded to 16 levels, centred as documents are."""
        centred = queries_QK - self.state["centre"]
        levels, ends = rounded(centred, QUERY_BITS)
        return self.asked(_between(levels, ends, QUERY_BITS), queries_QK)

    def _vectors(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        levels, beside = self.split(codes)
        return _between(levels, beside[:, :2], self.bits), beside[:, 2]


def rounded(rows_MK: Float[Tensor, "M K"], bits: int) -> tuple[Int[Tensor, "M K"], Float[Tensor, "M 2"]]:
    """The level of each coordinate, and the ends of each row's interval."""
    parts = [_rounded(part, bits) for part in rows_MK.split(BLOCK_ROWS)]
    return torch.cat([levels for levels, _ in parts]), torch.cat([ends for _, ends in parts])


def _rounded(rows_MK: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    most = 2**bits - 1
    least, largest = rows_MK.aminmax(dim=1)
    middle, spread = rows_MK.mean(1), rows_MK.std(1, unbiased=False)
    low = torch.clamp(middle - START[bits] * spread, least, largest)
    high = torch.clamp(middle + START[bits] * spread, least, largest)
    squares = rows_MK.square().sum(1).clamp_min(1e-30)
    best, going = _loss(rows_MK, low, high, most, squares), torch.ones_like(low, dtype=torch.bool)
    for _ in range(ROUNDS):
        s = _levels(rows_MK, low, high, most) / most
        aa, ab, bb = (1 - s).square().sum(1), ((1 - s) * s).sum(1), s.square().sum(1)
        ax, bx = (rows_MK * (1 - s)).sum(1), (rows_MK * s).sum(1)
        along = (1 - TOWARDS_ALL) / squares
        m0, m1, m2 = (along * p + TOWARDS_ALL * r for p, r in ((ax * ax, aa), (ax * bx, ab), (bx * bx, bb)))
        determinant = m0 * m2 - m1 * m1
        going &= determinant != 0
        determinant = torch.where(going, determinant, 1)
        new_low, new_high = (m2 * ax - m1 * bx) / determinant, (m0 * bx - m1 * ax) / determinant
        loss = _loss(rows_MK, new_low, new_high, most, squares)
        going &= loss <= best
        low, high = torch.where(going, new_low, low), torch.where(going, new_high, high)
        best = torch.where(going, loss, best)
    return _levels(rows_MK, low, high, most).int(), torch.stack([low, high], dim=1)


def _levels(rows_MK: Tensor, low_M: Tensor, high_M: Tensor, most: int) -> Tensor:
    step = ((high_M - low_M) / most).clamp_min(1e-30)[:, None]
    clipped = torch.minimum(torch.maximum(rows_MK, low_M[:, None]), high_M[:, None])
    return ((clipped - low_M[:, None]) / step).round_()


def _loss(rows_MK: Tensor, low_M: Tensor, high_M: Tensor, most: int, squares_M: Tensor) -> Tensor:
    step = ((high_M - low_M) / most)[:, None]
    error = rows_MK - (low_M[:, None] + step * _levels(rows_MK, low_M, high_M, most))
    along = (rows_MK * error).sum(1)
    return (1 - TOWARDS_ALL) * along.square() / squares_M + TOWARDS_ALL * error.square().sum(1)


def _between(levels_MK: Tensor, ends_M2: Tensor, bits: int) -> Tensor:
    low, high = ends_M2[:, :1], ends_M2[:, 1:]
    return low + (high - low) / (2**bits - 1) * levels_MK
