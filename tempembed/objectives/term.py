"""A term of an objective: InfoNCE on a prefix, at a temperature, with a weight."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tempembed.objectives.temperature import BFLOAT16_LEAST, Course
from tempembed.system.errors import UserError

Direction = Literal["query-to-document", "document-to-query", "both"]
"""Which side looks for the other; both is the mean of the two losses."""
View = Literal["float", "sign", "bits", "int8", "int4"]
"""What a term sees of a prefix: its numbers; the signs of both sides, as Hamming search does; the query's numbers against the
document's signs, as re-ranking does, or against the document's numbers rounded to 8 or 4 bits."""
VIEWS: tuple[View, ...] = get_args(View)
BLUNT = 0.06
"""From this temperature on, terms on signs did nothing or damaged the bits, where it was tried."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """`weight` times InfoNCE on a view of the first `dim` coordinates, re-normalised, at `temperature`."""

    dim: int
    """Prefix length, 1 to the encoder's width."""
    temperature: float
    """Divides the cosine; > 0, unitless. Where it moves, its first value."""
    weight: float = 1.0
    """Factor of this term in the sum; >= 0."""
    course: Course | None = None
    """How the temperature moves; None: it does not."""
    view: View = "float"
    """What of the prefix is compared."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UserError(f"term {self}: expected dim >= 1, got {self.dim}")
        if self.view not in VIEWS:
            raise UserError(f"term {self}: expected one of the views {', '.join(VIEWS)}, got {self.view!r}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(f"term {self}: expected a finite temperature > 0, got {self.temperature}")
        if self.temperature < BFLOAT16_LEAST:
            raise UserError(
                f"term {self}: expected a temperature > 0 in bfloat16, at least {BFLOAT16_LEAST:g}, got {self.temperature}"
            )
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UserError(f"term {self}: expected a finite weight >= 0, got {self.weight}")

    def __str__(self) -> str:
        return self.written(str(self.course or f"{self.temperature:g}"), f"{self.weight:g}")

    def written(self, temperature: str, weight: str) -> str:
        """As `parse_terms` reads it, with these numbers: 512@0.06*0.5, 256@0.04:sign*2."""
        view = "" if self.view == "float" else f":{self.view}"
        return f"{self.dim}@{temperature}{view}" + ("" if self.weight == 1 else f"*{weight}")

    @property
    def label(self) -> str:
        """Its name among metrics: dim_256_temperature_0.03, dim_256_temperature_cosine_0.03_0.1, dim_256_temperature_0.04_sign."""
        temperature = self.course.label if self.course else f"{self.temperature:g}"
        view = "" if self.view == "float" else f"_{self.view}"
        return f"dim_{self.dim}_temperature_{temperature}{view}"

    @property
    def warmest(self) -> float:
        """The highest temperature that it begins with or is led to."""
        return max(self.temperature, *self.course.values[:2]) if self.course else self.temperature


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


def blunt(terms: Terms) -> list[str]:
    """A line on terms whose temperature is too high for signs, if there are any."""
    found = [str(term) for term in terms if term.view == "sign" and term.warmest >= BLUNT]
    if not found:
        return []
    return [
        f"warning: terms {' '.join(found)}: at temperatures of {BLUNT:g} and more, terms on signs did nothing or damaged the bits "
        "where they were measured; 0.02 to 0.04 gained"
    ]


def check_direction(terms: Terms, direction: str) -> None:
    """Raise UserError for a view that has no such direction."""
    one_sided = [term for term in terms if term.view not in ("float", "sign")]
    if direction == "document-to-query" and one_sided:
        raise UserError(
            f"term {one_sided[0]}: expected --direction query-to-document or both, as documents are stored in few bits and the query "
            "asks with its numbers, got document-to-query; take :sign, or another direction"
        )
