"""Regularisers by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.system.errors import UserError
from tempembed.system.plugins import find

Regulariser = Callable[[Float[Tensor, "G D"], Float[Tensor, "G D"]], Float[Tensor, ""]]
"""Queries and documents of the global batch, as the encoder made them, to a scalar. Every rank calls it with the same rows.

Normalise with `torch.nn.functional.normalize` where lengths must not count: `losses.unit` writes its gradient in place.
"""
REGULARISERS: dict[str, str] = {
    "uniformity": "tempembed.objectives.regularisers.uniformity:uniformity",
    "koleo": "tempembed.objectives.regularisers.koleo:koleo",
}
"""By name, where the function is. One of another package needs no entry: MODULE:NAME is a name as well."""


def at_least_float32(embeddings: Tensor) -> Tensor:
    """Embeddings in a type that sums can be taken in."""
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A regulariser of an objective."""

    name: str
    weight: float
    """Its factor in the sum; > 0."""

    def __str__(self) -> str:
        return f"{self.name}:{self.weight:g}"

    def __call__(self, queries_GD: Tensor, documents_GD: Tensor) -> Tensor:
        """Its value, without the weight."""
        return self._function(queries_GD, documents_GD)

    @cached_property
    def _function(self) -> Regulariser:
        return find("--regularisers", self.name, REGULARISERS)


def parse_regulariser(text: str) -> Weighted:
    """`NAME:WEIGHT`, the name of one of ours or MODULE:FUNCTION.

    >>> str(parse_regulariser("uniformity:0.1"))
    'uniformity:0.1'

    Raises:
        UserError: an unknown name, or no weight > 0.
    """
    name, _, weight = text.rpartition(":")
    find("--regularisers", name, REGULARISERS)
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UserError(
            f"--regularisers {text}: expected a finite weight > 0 after the colon, got {weight!r}; e.g. {name}:0.1"
        )
    return Weighted(name=name, weight=number)
