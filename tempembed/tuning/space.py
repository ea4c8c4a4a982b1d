"""The search space: families of objectives, each with parameters of its own, drawn so that no point is invalid."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tempembed.objectives.parse import check_terms, matryoshka_dims, parse_terms
from tempembed.objectives.term import BLUNT, Terms
from tempembed.system.errors import UserError

LEAST, MOST = 0.02, 0.5
"""Temperatures that are searched."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """An objective."""

    family: str
    terms: Terms
    beta: float = 0.0


def _number(value: float) -> str:
    return f"{value:.4g}"


def _temperature(trial: Any, name: str, most: float = MOST) -> float:
    return trial.suggest_float(name, LEAST, most, log=True)


def _weights(trial: Any, dims: Sequence[int]) -> list[float]:
    """Weights drawn uniformly from the simplex, scaled to a mean of 1 (normalised exponentials of uniform numbers)."""
    drawn = [-math.log(trial.suggest_float(f"share_{dim}", 0.01, 0.99)) for dim in dims]
    return [len(dims) * value / sum(drawn) for value in drawn]


def _ladder(trial: Any) -> list[float]:
    """Two to four temperatures at equal ratios; the highest as a share of the way from the lowest to the bound."""
    num = trial.suggest_int("num_temperatures", 2, 4)
    low = _temperature(trial, "temperature_low", MOST / 2)
    high = low * (MOST / low) ** trial.suggest_float("temperature_span", 0.15, 1.0)
    return [low * (high / low) ** (i / (num - 1)) for i in range(num)]


def _product(dims: Sequence[int], temperatures: Sequence[str], weights: Sequence[float]) -> list[str]:
    return [
        f"{dim}@{tau}*{_number(weight)}"
        for dim, weight in zip(dims, weights, strict=True)
        for tau in temperatures
    ]


def _infonce(trial: Any, width: int) -> list[str]:
    return [f"{width}@{_number(_temperature(trial, 'temperature'))}"]


def _mrl(trial: Any, width: int) -> list[str]:
    dims = matryoshka_dims(width)
    return _product(dims, [_number(_temperature(trial, "temperature"))], _weights(trial, dims))


def _tempagg(trial: Any, width: int) -> list[str]:
    return [f"{width}@{_number(tau)}" for tau in _ladder(trial)]


def _tempaggmrl(trial: Any, width: int) -> list[str]:
    dims = matryoshka_dims(width)
    return _product(dims, [_number(tau) for tau in _ladder(trial)], _weights(trial, dims))


def _tempspecmrl(trial: Any, width: int) -> list[str]:
    dims = matryoshka_dims(width)
    taus = [_number(_temperature(trial, f"temperature_{dim}")) for dim in dims]
    weights = _weights(trial, dims)
    return [f"{dim}@{tau}*{_number(w)}" for dim, tau, w in zip(dims, taus, weights, strict=True)]


def _schedule(trial: Any, width: int) -> list[str]:
    dims, (low, *_, high) = matryoshka_dims(width), _ladder(trial)
    periods = trial.suggest_int("periods", 1, 4)
    return _product(dims, [f"cosine({_number(low)},{_number(high)},{periods})"], _weights(trial, dims))


def _learned(trial: Any, width: int) -> list[str]:
    dims = matryoshka_dims(width)
    return _product(dims, [f"learned({_number(_temperature(trial, 'temperature'))})"], _weights(trial, dims))


def _sign(trial: Any, width: int) -> list[str]:
    signs = [
        f"{dim}@{_number(_sharp(trial, dim))}:sign*{_number(trial.suggest_float(f'sign_weight_{dim}', 0.5, 4.0, log=True))}"
        for dim in sorted({matryoshka_dims(width)[0], width})
    ]
    return _tempaggmrl(trial, width) + signs


def _bits(trial: Any, width: int) -> list[str]:
    dims = matryoshka_dims(width)
    taus = [_number(_sharp(trial, dim)) for dim in dims]
    return [f"{dim}@{tau}:{view}" for view in ("sign", "bits") for dim, tau in zip(dims, taus, strict=True)]


def _sharp(trial: Any, dim: int) -> float:
    return _temperature(trial, f"sign_temperature_{dim}", BLUNT)


FAMILIES: dict[str, Callable[[Any, int], list[str]]] = {
    "infonce": _infonce, "mrl": _mrl, "tempagg": _tempagg, "tempaggmrl": _tempaggmrl,
    "tempspecmrl": _tempspecmrl, "schedule": _schedule, "learned": _learned, "hard": _infonce,
    "tempaggmrl-sign": _sign, "tempspecbits": _bits,
}  # fmt: skip
"""schedule: MRL with a cosine; learned: MRL with a learned temperature; hard: InfoNCE with beta (Robinson et al. 2021)."""


def check_families(families: Sequence[str]) -> None:
    """Raise UserError unless they are known."""
    if unknown := [name for name in families if name not in FAMILIES] or (not families and ["none"]):
        raise UserError(f"--families: expected some of {' '.join(FAMILIES)}, got {' '.join(unknown)}")


def propose(trial: Any, families: Sequence[str], width: int) -> Point:
    """A point that an Optuna trial draws: the family first, then the parameters that it has.

    Args:
        trial: `optuna.Trial`, or anything with its suggest methods.
        families: names from FAMILIES.
        width: of the encoder.
    """
    family = trial.suggest_categorical("family", list(families))
    texts = FAMILIES[family](trial, width)
    beta = round(trial.suggest_float("beta", 0.1, 2.0), 4) if family == "hard" else 0.0
    return Point(family=family, terms=check_terms(parse_terms(texts, width), width), beta=beta)
