"""Objectives of the paper by name, as lists of terms; terms written one by one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tempembed.objectives.temperature import Course, parse_temperature
from tempembed.objectives.term import VIEWS, Term, Terms, View
from tempembed.system.errors import UserError

TEMPAGG_TEMPERATURES = tuple((tau, None) for tau in (0.03, 0.06, 0.1))  # paper, eq. 6
SIGN_TEMPERATURES = tuple((tau, None) for tau in (0.04, 0.03, 0.02))  # smaller where bits are many
Temperature = tuple[float, Course | None]
"""As `parse_temperature` gives it."""


def _term(dim: int, temperature: Temperature, view: View = "float", weight: float = 1.0) -> Term:
    return Term(dim=dim, temperature=temperature[0], course=temperature[1], view=view, weight=weight)


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


def tempaggmrl_sign(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """TempAggMRL, and twice the signs of a quarter at 0.04 and of all at 0.02: for an index of bits."""
    signs = {dim: (tau, None) for dim, tau in ((max(1, width // 4), 0.04), (width, 0.02))}
    return (
        *tempaggmrl(width, temperatures),
        *(_term(dim, tau, "sign", 2.0) for dim, tau in signs.items()),
    )


def tempspecbits(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """Only what an index of bits shows: for each prefix its signs and their re-ranking, at a temperature of its own."""
    pairs = _one_each("tempspecbits", width, temperatures or SIGN_TEMPERATURES)
    return tuple(_term(dim, tau, view) for view in ("sign", "bits") for dim, tau in pairs)


def tempspecmrl(width: int, temperatures: Sequence[Temperature]) -> Terms:
    """One temperature per prefix, small where dimensions are few (eq. 8)."""
    pairs = _one_each("tempspecmrl", width, temperatures or TEMPAGG_TEMPERATURES)
    return tuple(_term(dim, tau) for dim, tau in pairs)


def _one_each(name: str, width: int, temperatures: Sequence[Temperature]) -> list[tuple[int, Temperature]]:
    """Each prefix with its temperature."""
    dims, taus = matryoshka_dims(width), temperatures
    if len(taus) != len(dims):
        raise UserError(
            f"{name}: expected {len(dims)} temperatures, one for each prefix {dims}, got {len(taus)}: "
            f"write {name} or e.g. {name}:0.03,0.06,0.1"
        )
    return list(zip(dims, taus, strict=True))


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
    "tempaggmrl-sign": _Family(tempaggmrl_sign, None, "tempaggmrl-sign"),
    "tempspecbits": _Family(tempspecbits, None, "tempspecbits"),
}


def parse_objective(text: str, width: int) -> Terms:
    """An objective by its name, such as `infonce:0.06`, `mrl:0.06`, `tempaggmrl`, `tempaggmrl-sign`, as terms of a width.

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
    """Explicit terms, each `dim@temperature[:view][*weight]`; temperatures as in `parse_objective`, views float, sign, bits,
    int8 and int4.

    >>> parse_terms(["512@0.06*0.5"], 1024)
    (Term(dim=512, temperature=0.06, weight=0.5, course=None, view='float'),)

    Raises:
        UserError: a term that does not parse, is wider than the encoder, or is repeated.
    """
    terms = []
    for text in texts:
        dim, at, rest = text.partition("@")
        rest, star, weight = rest.partition("*")
        temperature, colon, view = rest.partition(":")
        try:
            if not at or (star and not weight):
                raise ValueError
            if colon and view not in VIEWS:
                raise UserError(
                    f"term {text!r}: expected one of the views {', '.join(VIEWS)} after ':', got {view!r}"
                )
            first, course = parse_temperature(temperature)
            terms.append(
                Term(
                    dim=int(dim), temperature=first, course=course, weight=float(weight) if star else 1.0,
                    view=view if colon else "float",  # type: ignore[arg-type]
                )
            )  # fmt: skip
        except UserError:
            raise
        except ValueError as error:
            raise UserError(
                f"term {text!r}: expected dim@temperature[:view][*weight], e.g. 512@0.06*0.5 or 256@0.04:sign*2"
            ) from error
    return check_terms(tuple(terms), width)


def check_terms(terms: Terms, width: int) -> Terms:
    """The terms, if they fit an encoder of this width.

    Raises:
        UserError: no term, a prefix wider than the encoder, a repeated (dim, temperature, view), all weights zero.
    """
    if not terms:
        raise UserError("objective: expected at least one term, got none, e.g. --terms 1024@0.06")
    for term in terms:
        if term.dim > width:
            raise UserError(f"term {term}: expected dim <= {width}, the encoder's width, got {term.dim}")
    seen = [(term.dim, str(term.course or f"{term.temperature!r}"), term.view) for term in terms]
    if repeated := sorted(each for each, count in Counter(seen).items() if count > 1):
        raise UserError(
            f"objective: expected each (dim, temperature, view) once, got {repeated[:5]} more than once"
        )
    if not any(term.weight for term in terms):
        raise UserError("objective: expected a weight > 0 in at least one term, got only zeros")
    return terms
