"""Views of embeddings: as they are, or as an index stores them, in bits or in integers, with a gradient that passes straight through.

A sign is `x > 0 ? 1 : -1`, as codecs have it, over the root of the prefix. Its gradient is that of the clipped line
`clamp(sqrt(D) x, -1, 1)`, with D the widest dim of the objective at all prefixes: what is inside the clip of a prefix is then a
prefix of what is inside that of all, and products of prefixes accumulate as those of floats do (Courbariaux et al. 2016,
arXiv:1602.02830).

An integer is the codec's, `low + step * code`, in ranges of the batch's documents at the widest dim, which is normalised: those of
a prefix are a prefix of them. Its gradient passes where it is not clipped. Norms are those of the rounded numbers.

Shape legend: S rows or columns, else as in `losses/__init__.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from tempembed.codecs.integers import calibrate, rounded
from tempembed.objectives.term import VIEWS, Terms, View

Kind = Literal["float", "sign", "int8", "int4"]
SIDES: dict[View, tuple[Kind, Kind]] = {
    "float": ("float", "float"),
    "sign": ("sign", "sign"),
    "bits": ("float", "sign"),
    "int8": ("float", "int8"),
    "int4": ("float", "int4"),
}
"""What queries, and what documents, are compared as."""
BITS: dict[Kind, int] = {"int8": 8, "int4": 4}
NEARLY_HALF = 0.501
"""Steps that a number may move: half of one is rounding, more is clipping, and a little is float32's."""


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


def as_integers(
    embeddings_SD: Float[Tensor, "S D"], documents_MD: Float[Tensor, "M D"], bits: int
) -> tuple[Float[Tensor, "S D"], Bool[Tensor, "S D"]]:
    """Embeddings as a codec of these documents stores them, and where that only rounds, not clips."""
    exact = torch.promote_types(embeddings_SD.dtype, torch.float32)
    embeddings = embeddings_SD.to(exact)
    low_D, step_D = calibrate(documents_MD.to(exact), bits)
    values_SD = rounded(embeddings, low_D, step_D, bits)
    is_rounded = (values_SD - embeddings).abs() <= NEARLY_HALF * step_D
    return values_SD.to(embeddings_SD.dtype), is_rounded


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows or columns of similarities as products take them."""

    values: Float[Tensor, "S D"]
    gradient: Float[Tensor, "S D"] | None
    """Of the values; is added to."""
    is_float: bool = True
    is_signs: bool = False
    passes: Bool[Tensor, "S D"] | None = None
    """Where the gradient passes to the floats; None where there is none, or all."""

    def seen_as(self, kind: Kind, widest: int) -> "Side":
        """Floats as signs or integers, with a gradient of their own."""
        if kind == "float":
            return self
        gradient = None if self.gradient is None else torch.zeros_like(self.gradient)
        if kind == "sign":
            passes = None if gradient is None else inside_clip(self.values, widest)
            return Side(
                values=signs(self.values), gradient=gradient, is_float=False, is_signs=True, passes=passes
            )
        values, passes = as_integers(self.values, self.values, BITS[kind])
        return Side(values=values, gradient=gradient, is_float=False, passes=passes)

    def pass_to(self, floats: "Side", widest: int) -> None:
        """Add the gradient of signs or integers to that of the floats, straight through; it is used up."""
        if self.gradient is not None and floats.gradient is not None and self.passes is not None:
            floats.gradient.add_(self.gradient.mul_(self.passes), alpha=widest**0.5 if self.is_signs else 1.0)


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
