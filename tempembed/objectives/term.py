"""A term of an objective: InfoNCE on a prefix, at a temperature, with a weight."""

import math
from dataclasses import dataclass
from typing import Literal

from tempembed.objectives.temperature import Course
from tempembed.system.errors import UserError

Direction = Literal["query-to-document", "document-to-query", "both"]
"""Which side looks for the other; both is the mean of the two losses."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """`weight` times InfoNCE on the first `dim` coordinates, re-normalised, at `temperature`."""

    dim: int
    """Prefix length, 1 to the encoder's width."""
    temperature: float
    """Divides the cosine; > 0, unitless. Where it moves, its first value."""
    weight: float = 1.0
    """Factor of this term in the sum; >= 0."""
    course: Course | None = None
    """How the temperature moves; None: it does not."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UserError(f"term {self}: expected dim >= 1, got {self.dim}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(f"term {self}: expected a finite temperature > 0, got {self.temperature}")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UserError(f"term {self}: expected a finite weight >= 0, got {self.weight}")

    def __str__(self) -> str:
        weight = "" if self.weight == 1 else f"*{self.weight:g}"
        return f"{self.dim}@{self.course or f'{self.temperature:g}'}{weight}"

    @property
    def label(self) -> str:
        """Its name among metrics: dim_256_temperature_0.03, dim_256_temperature_cosine_0.03_0.1."""
        temperature = self.course.label if self.course else f"{self.temperature:g}"
        return f"dim_{self.dim}_temperature_{temperature}"


MOST_BETA = 100.0
"""Logits times it are rounded to 1e-3 nats at tau = 0.01; at 100 all but the hardest negatives count for nothing."""


@dataclass(frozen=True, kw_only=True)
class Hardness:
    """Robinson et al. 2021 (arXiv:2010.04592); both zero is InfoNCE, beta = 0 alone is Chuang et al. 2020."""

    beta: float = 0.0
    """Concentration on hard negatives: they behave as if at temperature tau / (1 + beta)."""
    tau_plus: float = 0.0
    """Share of the negatives that are thought to be positives, taken off their sum."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= MOST_BETA:
            raise UserError(f"--beta: expected a number from 0 to {MOST_BETA:g}, got {self.beta}")
        if not 0 <= self.tau_plus < 1:
            raise UserError(f"--tau-plus: expected a share, 0 to below 1, got {self.tau_plus}")

    @property
    def powers(self) -> tuple[float, ...]:
        """The powers of e^logit whose sums over the negatives are needed."""
        return (1 + self.beta, self.beta) if self.beta or self.tau_plus else (1.0,)


INFONCE = Hardness()


Terms = tuple[Term, ...]
