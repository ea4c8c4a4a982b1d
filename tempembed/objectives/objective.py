"""Every objective of the paper is a list of terms: InfoNCE on a prefix, at a temperature, with a weight."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tempembed.objectives.temperature import Course, parse_temperature
from tempembed.system.errors import UserError

Direction = Literal["query-to-document", "document-to-query", "both"]
"""Which side looks for the other; both is the mean of the two losses."""
TEMPAGG_TEMPERATURES = tuple((tau, None) for tau in (0.03, 0.06, 0.1))  # paper, eq. 6


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
        temperature = (
            re.sub(r"[(),]+", "_", str(self.course)).strip("_") if self.course else f"{self.temperature:g}"
        )
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
Temperature = tuple[float, Course | None]
"""As `parse_temperature` gives it."""


def _term(dim: int, temperature: Temperature) -> Term:
    return Term(dim=dim, temperature=temperature[0], course=temperature[1])


def matryoshka_dims(width: int) -> tuple[int, ...]:
    """The paper's prefixes, a quarter, a half and all of the width: (256, 512, 1024) for 1024 (eq. 5)."""
    return tuple(sorted({max(1, width // 4), max(1, width // 2), width}))


def infonce(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """InfoNCE at full width (eq. 1)."""
    return (_term(width, temperatures[0]),)


def mrl(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """Matryoshka with one temperature (eq. 5)."""
    return tuple(_term(dim, temperatures[0]) for dim in matryoshka_dims(width))


def tempagg(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """Sum over temperatures at full width (eq. 6)."""
    return tuple(_term(width, tau) for tau in temperatures or TEMPAGG_TEMPERATURES)


def tempaggmrl(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """All pairs of prefix and temperature (eq. 7)."""
    return tuple(
        _term(dim, tau) for dim in matryoshka_dims(width) for tau in temperatures or TEMPAGG_TEMPERATURES
    )


def tempspecmrl(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """One temperature per prefix, small where dimensions are few (eq. 8)."""
    dims, taus = matryoshka_dims(width), temperatures or TEMPAGG_TEMPERATURES
    if len(taus) != len(dims):
        raise UserError(
            f"tempspecmrl: expected {len(dims)} temperatures, one for each prefix {dims}, got {len(taus)}: "
            "write tempspecmrl or e.g. tempspecmrl:0.03,0.06,0.1"
        )
    return tuple(_term(dim, tau) for dim, tau in zip(dims, taus, strict=True))


@dataclass(frozen=True)
class _Family:
    build: Callable[[int, Sequence[Temperature]], Terms]
    counts: tuple[int, ...] | None  # how many temperatures may be given; None: one or more, or none
    example: str


FAMILIES = {
    "infonce": _Family(infonce, (1,), "infonce:0.06"),
    "mrl": _Family(mrl, (1,), "mrl:0.06"),
    "tempagg": _Family(tempagg, None, "tempagg:0.03,0.06,0.1"),
    "tempaggmrl": _Family(tempaggmrl, None, "tempaggmrl:0.03,0.06,0.1"),
    "tempspecmrl": _Family(tempspecmrl, None, "tempspecmrl"),
}


def parse_objective(text: str, width: int) -> Terms:
    """`infonce:0.06`, `mrl:0.06`, `tempagg:0.03,0.06,0.1`, `tempaggmrl:…`, `tempspecmrl` as terms of a width.

    In place of a number: cosine(least,most[,periods]), linear(first,last), cooldown(first,last), learned(first).

    >>> [str(term) for term in parse_objective("tempspecmrl", 1024)]
    ['256@0.03', '512@0.06', '1024@0.1']

    Raises:
        UserError: unknown name, or temperatures that are missing, too many, or not positive numbers.
    """
    name, colon, values = text.strip().partition(":")
    family = FAMILIES.get(name.lower())
    if family is None:
        examples = ", ".join(f.example for f in FAMILIES.values())
        raise UserError(f"objective {text!r}: expected one of {examples}; or give --terms 256@0.03 1024@0.1")
    if colon and not values:
        raise UserError(f"objective {text!r}: expected temperatures after ':', e.g. {family.example}")
    try:
        temperatures = tuple(parse_temperature(value) for value in _split(values)) if values else ()
    except UserError as error:
        raise UserError(f"objective {text!r}: {error}") from None
    except ValueError as error:
        raise UserError(f"objective {text!r}: expected numbers after ':', e.g. {family.example}") from error
    if family.counts and len(temperatures) not in family.counts:
        raise UserError(
            f"objective {text!r}: expected {family.counts[0]} temperature, got {len(temperatures)}, "
            f"e.g. {family.example}"
        )
    return check_terms(family.build(width, temperatures), width)


def _split(values: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for character in values:
        depth = max(0, depth + (character == "(") - (character == ")"))
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def parse_terms(texts: Sequence[str], width: int) -> Terms:
    """Explicit terms, each `dim@temperature` or `dim@temperature*weight`; temperatures as in `parse_objective`.

    >>> parse_terms(["512@0.06*0.5"], 1024)
    (Term(dim=512, temperature=0.06, weight=0.5, course=None),)

    Raises:
        UserError: a term that does not parse, is wider than the encoder, or is repeated.
    """
    terms = []
    for text in texts:
        dim, at, rest = text.partition("@")
        temperature, star, weight = rest.partition("*")
        try:
            if not at or (star and not weight):
                raise ValueError
            first, course = parse_temperature(temperature)
            terms.append(
                Term(dim=int(dim), temperature=first, course=course, weight=float(weight) if star else 1.0)
            )
        except UserError:
            raise
        except ValueError as error:
            raise UserError(
                f"term {text!r}: expected dim@temperature or dim@temperature*weight, e.g. 512@0.06*0.5"
            ) from error
    return check_terms(tuple(terms), width)


def check_terms(terms: Terms, width: int) -> Terms:
    """The terms, if they fit an encoder of this width.

    Raises:
        UserError: no term, a prefix wider than the encoder, a repeated (dim, temperature), all weights zero.
    """
    if not terms:
        raise UserError("objective: expected at least one term, got none, e.g. --terms 1024@0.06")
    for term in terms:
        if term.dim > width:
            raise UserError(f"term {term}: expected dim <= {width}, the encoder's width, got {term.dim}")
    pairs = [(term.dim, str(term.course or f"{term.temperature!r}")) for term in terms]
    if repeated := sorted(pair for pair, count in Counter(pairs).items() if count > 1):
        raise UserError(
            f"objective: expected each (dim, temperature) once, got {repeated[:5]} more than once"
        )
    if not any(term.weight for term in terms):
        raise UserError("objective: expected a weight > 0 in at least one term, got only zeros")
    return terms
