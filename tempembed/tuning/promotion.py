"""Which model holds an alias: a newcomer takes it only if the paired interval says that it is better."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tempembed.evaluation.report import Evaluation, ScoreRow
from tempembed.evaluation.statistics import interval
from tempembed.tuning.goals import best_row


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The score of a model at a goal."""

    model: str
    """What it is called in sentences."""
    fingerprint: str
    """Fingerprint of the test data."""
    row: ScoreRow
    """Its best score, with the codec."""
    replicates_R: Float[Tensor, " R"]
    """Replicates of that score, on the resamples that all models on this test share."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision whether an alias moves, with the reason."""

    alias: str
    promote: bool
    why: str
    difference: float | None = None
    """Newcomer - incumbent."""
    ci: tuple[float, float] | None = None
    """Its paired 95 % interval."""


def goal_of(alias: str) -> str:
    """The goal that an alias stands for: `full` is retrieval at full width and precision, `bytes-N` is itself."""
    return "retrieval" if alias == "full" else alias


def standing(model: str, evaluation: Evaluation, alias: str) -> Standing | None:
    """The score of a measured model at an alias; None if it has none."""
    row = best_row(evaluation.report, goal_of(alias))
    if row is None:
        return None
    fingerprint = evaluation.report.data.tasks[row.task].fingerprint
    return Standing(model=model, fingerprint=fingerprint, row=row, replicates_R=evaluation.of(row))


def decide(alias: str, newcomer: Standing, incumbent: Standing | None) -> Decision:
    """The rule. Each side stands with the best codec that it has for the alias.

    Raises:
        ValueError: they were measured on different tests.
    """
    new = newcomer.row
    if incumbent is None:
        return Decision(
            alias=alias, promote=True,
            why=f"{newcomer.model} takes {alias}: nobody held it; {new.metric} {new.score:.4f} by {new.spec}",
        )  # fmt: skip
    if newcomer.fingerprint != incumbent.fingerprint:
        raise ValueError(
            f"expected scores on one test, got {newcomer.fingerprint} and {incumbent.fingerprint}"
        )
    old = incumbent.row
    difference = new.score - old.score
    low, high = interval(newcomer.replicates_R - incumbent.replicates_R)
    better = low > 0
    verdict = "is better" if better else "is worse" if high < 0 else "cannot be told from it"
    return Decision(
        alias=alias, promote=better, difference=difference, ci=(low, high),
        why=f"{newcomer.model} {'takes' if better else 'does not take'} {alias} from {incumbent.model}: {new.spec} "
        f"{new.score:.4f} against {old.spec} {old.score:.4f}, difference {difference:+.4f} "
        f"(95 % {low:+.4f} to {high:+.4f}), {verdict}",
    )  # fmt: skip
