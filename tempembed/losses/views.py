"""Views of embeddings: as they are, or as the signs that an index of bits stores, with a gradient that passes straight through.

A sign is `x > 0 ? 1 : -1`, as codecs have it, over the root of the prefix. Its gradient is that of the clipped line
`clamp(sqrt(D) x, -1, 1)`, with D the widest dim of the objective at all prefixes: what is inside the clip of a prefix is then a
prefix of what is inside that of all, and products of prefixes accumulate as those of floats do (Courbariaux et al. 2016,
arXiv:1602.02830).

Shape legend: S rows or columns, else as in `losses/__init__.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from tempembed.objectives.term import VIEWS, Terms, View

SIGN_SIDES: dict[View, tuple[bool, bool]] = {
    "float": (False, False),
    "sign": (True, True),
    "bits": (False, True),
}
"""Whether queries, and whether documents, are signs."""


def signs(embeddings_SD: Float[Tensor, "S D"]) -> Float[Tensor, "S D"]:
    """±1, in the dtype of the embeddings; of 0 it is -1."""
    return (embeddings_SD > 0).to(embeddings_SD.dtype).mul_(2).sub_(1)


def inside_clip(embeddings_SD: Float[Tensor, "S D"], widest: int) -> Bool[Tensor, "S D"]:
    """Where a gradient passes a sign; of unit embeddings of `widest` coordinates."""
    return embeddings_SD.abs() <= widest**-0.5


@torch.no_grad()
def clip_measures(embeddings_SD: Float[Tensor, "S D"], widest: int) -> dict[str, Float[Tensor, ""]]:
    """Share of coordinates inside the clip, and the coefficient of variation of the coordinates' scales (root mean squares)."""
    unit_SD = normalize(embeddings_SD[:, :widest].float(), dim=1)
    scales_D = unit_SD.square().mean(0).sqrt()
    return {
        "inside_clip": inside_clip(unit_SD, widest).float().mean(),
        "scale_variation": scales_D.std(correction=0) / scales_D.mean(),
    }


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows or columns of similarities as products take them."""

    values: Float[Tensor, "S D"]
    gradient: Float[Tensor, "S D"] | None
    """Of the values; is added to."""
    is_signs: bool = False

    @staticmethod
    def of_signs(floats: "Side") -> "Side":
        """The signs of floats, with a gradient of their own."""
        gradient = None if floats.gradient is None else torch.zeros_like(floats.gradient)
        return Side(values=signs(floats.values), gradient=gradient, is_signs=True)

    def pass_to(self, floats: "Side", widest: int) -> None:
        """Add the gradient of signs to that of the floats, straight through; it is used up."""
        if self.gradient is not None and floats.gradient is not None:
            self.gradient.mul_(inside_clip(floats.values, widest))
            floats.gradient.add_(self.gradient, alpha=widest**0.5)


class Level(NamedTuple):
    """A prefix in a view: one product of each block, and the terms that share it."""

    view: View
    dim: int
    before: int
    """The next smaller dim of the view, whose product it adds to; 0: none."""
    terms: tuple[int, ...]
    """Their places in the objective."""
    is_last: bool
    """Whether the view has no wider one."""

    @property
    def part(self) -> slice:
        """The coordinates that it adds."""
        return slice(self.before, self.dim)


def levels_of(terms: Terms, extra: Sequence[int] = ()) -> list[Level]:
    """The levels of an objective, by view, then by dim; at `extra` dims there are floats even without a term."""
    found = []
    for view in VIEWS:
        dims = sorted({t.dim for t in terms if t.view == view} | set(extra if view == "float" else ()))
        for before, dim in zip([0, *dims], dims, strict=False):
            places = tuple(i for i, t in enumerate(terms) if (t.view, t.dim) == (view, dim))
            found.append(Level(view, dim, before, places, dim == dims[-1]))
    return found
