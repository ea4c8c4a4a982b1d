"""Whether a run made its model better than it was: each goal at the start and at the end, paired, and the likely cause if not."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tempembed.evaluation.report import Bounds, Count, Evaluation, Number
from tempembed.evaluation.statistics import interval
from tempembed.evaluation.task import metric_title
from tempembed.system.atomic import write_json
from tempembed.system.typed import typed
from tempembed.system.untrusted import read_json
from tempembed.tuning.causes import Cause
from tempembed.tuning.goals import budget_of
from tempembed.tuning.promotion import standing

VERDICT = "verdict.json"
"""In a run's folder."""
Outcome = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A goal, of the model before it was trained and after."""

    goal: str
    """retrieval, clustering, bytes-128."""
    metric: str
    """As readers know it: nDCG@10."""
    start: Number
    start_spec: str
    """The codec of that score: the best within the bytes."""
    end: Number
    end_spec: str
    ci: Bounds
    """95 % interval of end - start, paired."""

    @property
    def difference(self) -> float:
        """End - start."""
        return self.end - self.start

    @property
    def outcome(self) -> Outcome:
        """Better or worse where the interval leaves zero out."""
        return "better" if self.ci[0] > 0 else "worse" if self.ci[1] < 0 else "undecided"

    def __str__(self) -> str:
        low, high = self.ci
        budget = budget_of(self.goal)
        where = f"at {budget} bytes" if budget else "at full size"
        return f"{self.metric} {self.start:.3f} -> {self.end:.3f} ({self.difference:+.3f}, 95 % {low:+.3f} to {high:+.3f}) {where}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A run's."""

    data: Literal["test", "dev"]
    """What both were measured on; dev: there was no test, and what was chosen on these pairs looks better on them."""
    goal: str
    """The one that decides."""
    comparisons: tuple[Comparison, ...]
    model: str
    """Which step the model is of, in words."""
    step: Count
    causes: tuple[Cause, ...] = ()
    """Where it is worse: what was measured that explains it, likeliest first."""

    @property
    def outcome(self) -> Outcome:
        """By the goal."""
        return self._deciding.outcome

    @property
    def _deciding(self) -> Comparison:
        return next((each for each in self.comparisons if each.goal == self.goal), self.comparisons[0])

    def lines(self) -> list[str]:
        """For the person who started the run."""
        first = self._deciding
        word = {
            "better": "better than the start", "worse": "worse than the start", "undecided": "not to be told from the start",
        }[self.outcome]  # fmt: skip
        shown = [
            first,
            *(
                each
                for each in self.comparisons
                if each is not first and each.goal in ("retrieval", "bytes-128")
            ),
        ]
        lines = [
            f"{word}: {'; '.join(map(str, shown))}",
            self.model + ("; measured on the dev pairs, by which it was chosen: an optimist's figures" if self.data == "dev" else ""),
        ]  # fmt: skip
        if self.outcome == "worse":
            lines += [f"likely cause: {cause.text}" for cause in self.causes] or [
                "no cause was found in what was measured: try --tau auto, a smaller --learning-rate, or read metrics.jsonl"
            ]
        return lines

    def points(self) -> list[tuple[str, float, int]]:
        """For trackers: of each goal the difference and its interval."""
        found = []
        for each in self.comparisons:
            low, high = each.ci
            found += [
                (f"verdict/{each.goal}/{name}", float(value), 0)
                for name, value in (
                    ("start", each.start), ("difference", each.difference), ("low", low), ("high", high),
                )
            ]  # fmt: skip
        return [*found, ("verdict/step", float(self.step), 0)]

    def tags(self) -> dict[str, str]:
        """For trackers: `verdict`, and `verdict.GOAL` of each; `verdict.cause`."""
        tags = {
            "verdict": self.outcome,
            **{f"verdict.{each.goal}": each.outcome for each in self.comparisons},
        }
        return {
            **tags,
            **({"verdict.cause": ", ".join(cause.name for cause in self.causes)} if self.causes else {}),
        }

    def write(self, path: Path) -> None:
        """As JSON."""
        rows = [{**asdict(each), "difference": each.difference, "outcome": each.outcome} for each in self.comparisons]  # fmt: skip
        write_json(
            path, {**asdict(self), "comparisons": rows, "outcome": self.outcome, "lines": self.lines()}
        )


def read_verdict(path: Path) -> Verdict | None:
    """What `write` wrote; None where nothing is.

    Raises:
        UserError: not readable.
        ValueError: not a verdict.
    """
    value: Any = read_json(path) if path.exists() else None
    return None if value is None else typed(Verdict, value)


def compared(start: Evaluation, end: Evaluation, goals: Sequence[str]) -> tuple[Comparison, ...]:
    """The goals that both have, each side by the best codec that it has.

    Raises:
        ValueError: they were measured on different data.
    """
    found = []
    for goal in goals:
        before, after = standing("start", start, goal), standing("end", end, goal)
        if before is None or after is None:
            continue
        if before.fingerprint != after.fingerprint:
            raise ValueError(f"expected scores on one test, got {before.fingerprint} and {after.fingerprint}")
        found.append(
            Comparison(
                goal=goal, metric=metric_title(after.row.metric), start=before.row.score, start_spec=before.row.spec,
                end=after.row.score, end_spec=after.row.spec, ci=interval(after.replicates_R - before.replicates_R),
            )
        )  # fmt: skip
    return tuple(found)
