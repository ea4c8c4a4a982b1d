"""How a temperature moves over a run: not at all, along a curve, or with the weights."""

import math
import re
from dataclasses import dataclass

from tempembed.system.errors import UserError

LEAST, MOST = 0.01, 10.0
"""A learned temperature stays between them: 0.01 is CLIP's bound (1/tau <= 100)."""
BFLOAT16_LEAST = 2.0**-133
"""What is less is 0 in bfloat16."""
MOST_PERIODS = 1_000_000

_SHAPES = {"cosine": (2, 3), "linear": (2,), "cooldown": (2,), "learned": (1,)}
_EXAMPLES = (
    "0.06, cosine(0.03,0.1), cosine(0.03,0.1,4), linear(0.03,0.1), cooldown(0.1,0.03) or learned(0.06)"
)


@dataclass(frozen=True)
class Course:
    """The curve of a moving temperature over the share of the run that is done, 0 to 1."""

    shape: str
    """cosine, linear, cooldown or learned."""
    values: tuple[float, ...]
    """cosine: least, most, periods (1); linear and cooldown: first, last; learned: first."""

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES or len(self.values) not in _SHAPES[self.shape]:
            raise UserError(f"temperature {self}: expected one of {_EXAMPLES}")
        if not all(math.isfinite(value) and value > 0 for value in self.values):
            raise UserError(f"temperature {self}: expected finite numbers > 0")
        if min(self.values) < BFLOAT16_LEAST:
            raise UserError(
                f"temperature {self}: expected numbers > 0 in bfloat16, at least {BFLOAT16_LEAST:g}"
            )
        if self.shape == "cosine" and self.values[0] > self.values[1]:
            raise UserError(f"temperature {self}: expected the least value first, as in cosine(0.03,0.1)")
        if self.shape == "cosine" and self.values[2:] > (MOST_PERIODS,):
            raise UserError(f"temperature {self}: expected at most {MOST_PERIODS:,} periods")
        if self.shape == "cooldown" and not 0 < self.values[1] / self.values[0] < math.inf:
            raise UserError(f"temperature {self}: expected numbers nearer to each other")
        if self.is_learned and not LEAST <= self.values[0] <= MOST:
            raise UserError(f"temperature {self}: expected a first value from {LEAST} to {MOST}, its bounds")

    def __str__(self) -> str:
        return f"{self.shape}({','.join(f'{value:g}' for value in self.values)})"

    @property
    def label(self) -> str:
        """Its name among metrics: cosine_0.03_0.1."""
        return "_".join([self.shape, *(f"{value:g}" for value in self.values)])

    @property
    def is_learned(self) -> bool:
        """Whether it is a parameter of the training."""
        return self.shape == "learned"

    def at(self, progress: float) -> float:
        """Temperature after this share of the run; the first value for a learned one.

        cosine starts at the most: `least + (most - least) (1 + cos(2 pi periods progress)) / 2` (Kukleva et al.
        2023, arXiv:2303.13664, with the period as a share of the run); cooldown falls by a constant factor per step.
        """
        first, last = self.values[0], self.values[min(1, len(self.values) - 1)]
        if self.shape == "cosine":
            periods = self.values[2] if len(self.values) > 2 else 1.0
            tau = first + (last - first) * (1 + math.cos(2 * math.pi * periods * progress)) / 2
        elif self.shape == "linear":
            tau = first * (1 - progress) + last * progress
        else:
            tau = first * (last / first) ** progress
        return min(max(tau, min(first, last)), max(first, last))  # whatever was rounded


def parse_temperature(text: str) -> tuple[float, Course | None]:
    """A temperature as its first value and, if it moves, its course.

    >>> parse_temperature("cosine(0.03,0.1)")
    (0.1, Course(shape='cosine', values=(0.03, 0.1)))

    Raises:
        ValueError: neither a number nor a course.
        UserError: a course with the wrong numbers.
    """
    match = re.fullmatch(r"\s*([a-z]+)\(([^()]*)\)\s*", text)
    if match is None:
        return float(text), None
    course = Course(match[1], tuple(float(value) for value in match[2].split(",")))
    return course.at(0.0), course
