"""Which registered model and codec for N bytes a vector, and what is lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tempembed.evaluation.report import Evaluation, least_bytes
from tempembed.evaluation.statistics import interval
from tempembed.system.errors import UserError
from tempembed.tuning.promotion import Standing, standing


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """An answer, and what it is compared with."""

    budget: int
    best: Standing
    full: Standing
    """The best registered model at full width and precision."""
    runner_up: Standing | None
    difference_ci: tuple[float, float] | None
    """95 % of best - runner-up, paired."""
    lost_ci: tuple[float, float]
    """95 % of the share of `full`'s score that is lost, paired."""

    def text(self) -> str:
        """One paragraph."""
        row, whole = self.best.row, self.full.row
        text = (
            f"For {self.budget} bytes: {self.best.model} with {row.spec} ({row.bytes_per_vector} bytes): {row.metric} "
            f"{row.score:.4f} (95 % interval {row.ci_low:.4f} to {row.ci_high:.4f}). The best at full size, {self.full.model}, "
            f"reaches {whole.score:.4f} with {whole.bytes_per_vector} bytes: you lose {1 - row.score / whole.score:.1%} "
            f"({self.lost_ci[0]:.1%} to {self.lost_ci[1]:.1%}) for {whole.bytes_per_vector / row.bytes_per_vector:.3g}x less; "
            f"of its own full score it keeps {row.retention:.1%}."
        )
        if self.runner_up and self.difference_ci:
            low, high = self.difference_ci
            verdict = "worse" if low > 0 else "better" if high < 0 else "not to be told from it"
            other = self.runner_up.row
            text += (
                f" Runner-up: {self.runner_up.model} with {other.spec}, {other.score:.4f}, {verdict} (difference "
                f"{row.score - other.score:+.4f}, {low:+.4f} to {high:+.4f})."
            )
        return text


def recommend_model(
    models: Mapping[str, Evaluation], budget: int, holder: str | None = None
) -> Recommendation:
    """The holder of the budget's alias, or without one the best score of all within the budget.

    Args:
        models: reports and replicates by the models' names, all on one test.
        budget: bytes a vector.
        holder: the model that the registry's alias for this budget points at.

    Raises:
        UserError: no model has a codec that small.
    """
    goal = f"bytes-{budget}"
    able = [s for name, evaluation in models.items() if (s := standing(name, evaluation, goal))]
    if not able:
        least = min(least_bytes(evaluation.report.scores) for evaluation in models.values())
        raise UserError(
            f"--bytes {budget}: expected at least {least} bytes, the smallest codec that was measured"
        )
    able.sort(key=lambda s: (s.model != holder, -s.row.score))
    best, others = able[0], [*able[1:], *_other_codecs(able[0], models[able[0].model], budget)]
    full = max(
        (s for name, evaluation in models.items() if (s := standing(name, evaluation, "full"))),
        key=lambda s: s.row.score,
    )
    runner_up = max(others, key=lambda s: s.row.score, default=None)
    return Recommendation(
        budget=budget, best=best, full=full, runner_up=runner_up,
        difference_ci=interval(best.replicates_R - runner_up.replicates_R) if runner_up else None,
        lost_ci=interval(1 - best.replicates_R / full.replicates_R.clamp_min(1e-12)),
    )  # fmt: skip


def _other_codecs(best: Standing, evaluation: Evaluation, budget: int) -> Sequence[Standing]:
    """The same model by its second-best codec within the budget."""
    report = evaluation.report
    rest = replace(report, scores=tuple(row for row in report.scores if row.spec != best.row.spec))
    second = standing(best.model, replace(evaluation, report=rest), f"bytes-{budget}")
    return [second] if second else []
