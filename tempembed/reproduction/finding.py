"""What became of a claim: an effect with its interval, and the verdict that they give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tempembed.reproduction.results import NotMeasured
from tempembed.reproduction.sample import Interval, Sample

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
Unit = Literal["score", "share", "kept", "relative", "components"]
"""score: a difference of scores; share: a difference of shares; kept: a share itself; relative: a difference over the value; components: of principal ones."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the claims table."""

    key: str
    """The number of the claim in docs/design/paper.md 1.7, with a letter for its part."""
    claim: str
    compared: str
    """What the effect is: of which models, in which measure."""
    verdict: Verdict
    effect: float | None = None
    interval: Interval | None = None
    by_seed: tuple[float, ...] = ()
    """The effect of each seed."""
    unit: Unit = "score"
    detail: str = ""
    paper: str = ""
    """The paper's own figure, with the tag of its source, where one is known."""

    @property
    def effect_text(self) -> str:
        """The effect with its interval."""
        if self.effect is None:
            return ""
        return f"{amount(self.effect, self.unit)} ({span(self.interval, self.unit)})"

    @property
    def seeds_text(self) -> str:
        """The effect of each seed."""
        return ", ".join(_number(value, self.unit) for value in self.by_seed)


def amount(value: float, unit: Unit) -> str:
    """A value as text: differences with their sign, those of shares in percentage points."""
    return _number(value, unit) + {"kept": " %", "share": " pp", "relative": " %"}.get(unit, "")


def span(interval: Interval | None, unit: Unit) -> str:
    """An interval as text, without the unit."""
    if interval is None:
        return "one seed: no interval"
    return " to ".join(_number(end, unit) for end in interval)


def _number(value: float, unit: Unit) -> str:
    return {
        "kept": f"{100 * value:.1f}", "share": f"{100 * value:+.1f}", "relative": f"{100 * value:+.1f}", "score": f"{value:+.4f}", "components": f"{value:+.1f}",
    }[unit]  # fmt: skip


def judge(interval: Interval | None, sign: int, margin: float = 0.0) -> Verdict:
    """Whether a quantity lies beyond a margin in the claimed direction, by its 95 % interval.

    Args:
        interval: of the quantity.
        sign: 1 if it is claimed to lie above the margin, -1 below.
        margin: 0 for a difference that is claimed to be there at all.
    """
    if interval is None:
        return "undecided"
    low, high = sorted(sign * (end - margin) for end in interval)
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim that needs all of its parts: each is judged at 95 % (intersection-union test)."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if set(verdicts) == {"holds"} else "undecided"


def concluded(
    key: str, claim: str, compared: str, sample: Sample, *, sign: int, margin: float = 0.0, unit: Unit = "score",
    detail: str = "", paper: str = "", verdict: Verdict | None = None,
) -> Finding:  # fmt: skip
    """A finding about a sample; `verdict` in place of that of its own interval."""
    return Finding(
        key=key, claim=claim, compared=compared, verdict=verdict or judge(sample.interval, sign, margin),
        effect=sample.mean, interval=sample.interval, by_seed=tuple(sample.values_S.tolist()), unit=unit,
        detail=detail, paper=paper,
    )  # fmt: skip


Test = tuple[str, str, Callable[[], Finding]]
"""Key, claim, and what judges it."""


def attempted(key: str, claim: str, test: Callable[[], Finding]) -> Finding:
    """The test's finding, or that its models were not measured."""
    try:
        return test()
    except NotMeasured as missing:
        return Finding(key=key, claim=claim, compared=f"needs {missing}", verdict="not measured")
