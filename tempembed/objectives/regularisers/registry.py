"""Regularisers by name."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.system.errors import UserError
from tempembed.system.plugins import find

Regulariser = Callable[..., Float[Tensor, ""]]
"""An `EmbeddedBatch`, and the numbers in parentheses behind its name, if there are any, to a scalar."""
REGULARISERS: dict[str, str] = {
    "uniformity": "tempembed.objectives.regularisers.uniformity:uniformity",
    "koleo": "tempembed.objectives.regularisers.koleo:koleo",
    "cos2": "tempembed.objectives.regularisers.cos2:cos2",
    "decorrelation": "tempembed.objectives.regularisers.decorrelation:decorrelation",
    "balance": "tempembed.objectives.regularisers.balance:balance",
    "margin-mse": "tempembed.objectives.regularisers.margin_mse:margin_mse",
    "kl": "tempembed.objectives.regularisers.kl:kl",
}
"""By name, where the function is. One of another package needs no entry: MODULE:NAME is a name as well."""

TAUGHT = frozenset({"margin-mse", "kl"})
"""Those that need a teacher's scores in the data."""


def at_least_float32(embeddings: Tensor) -> Tensor:
    """Embeddings in a type that sums can be taken in."""
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A regulariser of an objective."""

    name: str
    weight: float
    """Its factor in the sum; > 0."""
    arguments: tuple[float, ...] = ()
    """What the function takes beside the batch."""

    def __str__(self) -> str:
        given = f"({','.join(f'{each:g}' for each in self.arguments)})" if self.arguments else ""
        return f"{self.name}{given}:{self.weight:g}"

    def __call__(self, batch: EmbeddedBatch) -> Tensor:
        """Its value, without the weight; on every rank."""
        return self._function(batch, *self.arguments)

    @property
    def is_taught(self) -> bool:
        """Whether it needs a teacher's scores in the data."""
        return self.name in TAUGHT

    @cached_property
    def _function(self) -> Regulariser:
        return find("--regularisers", self.name, REGULARISERS)


def parse_regulariser(text: str) -> Weighted:
    """`NAME:WEIGHT` or `NAME(NUMBER,...):WEIGHT`, the name of one of ours or MODULE:FUNCTION.

    >>> str(parse_regulariser("uniformity:0.1")), str(parse_regulariser("kl(0.05,1):0.5"))
    ('uniformity:0.1', 'kl(0.05,1):0.5')

    Raises:
        UserError: an unknown name, no weight > 0, or numbers that it does not take.
    """
    given, _, weight = text.rpartition(":")
    name, _, rest = given.partition("(")
    function = find("--regularisers", name, REGULARISERS)
    arguments = _arguments(text, name, rest, function) if "(" in given else ()
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UserError(
            f"--regularisers {text}: expected a finite weight > 0 after the colon, got {weight!r}; e.g. {name}:0.1"
        )
    return Weighted(name=name, weight=number, arguments=arguments)


def _arguments(text: str, name: str, rest: str, function: Regulariser) -> tuple[float, ...]:
    """The numbers in parentheses, without the first of these."""
    most = len(inspect.signature(function).parameters) - 1
    try:
        numbers = tuple(map(float, rest.removesuffix(")").split(",")))
    except ValueError:
        numbers = ()
    is_good = all(math.isfinite(number) and number > 0 for number in numbers)
    if not (rest.endswith(")") and is_good and 1 <= len(numbers) <= most):
        raise UserError(
            f"--regularisers {text}: expected {f'1 to {most} numbers > 0' if most else 'no numbers'} in parentheses behind {name}, "
            f"got ({rest}; correct it"
        )
    return numbers
