"""What a search wants: scores of a measured model, more is better."""

import re
from collections.abc import Sequence

from tempembed.evaluation.kinds import task_kinds
from tempembed.evaluation.report import Report, ScoreRow
from tempembed.evaluation.retrieval import Retrieval
from tempembed.system.errors import UserError


def full_goals() -> dict[str, str]:
    """Goals at full width and precision, which are kinds of tasks that every run measures, and their metrics."""
    return {name: kind.metric for name, kind in task_kinds().items() if kind.in_runs}


def budget_of(goal: str) -> int | None:
    """128 for bytes-128; None for a goal at full width."""
    match = re.fullmatch(r"bytes-(\d{1,6})", goal)
    return int(match[1]) if match else None


def check_goals(goals: Sequence[str], flag: str = "--goals") -> None:
    """Raise UserError unless they are known and each stands once."""
    known = [goal for goal in goals if goal in full_goals() or (budget_of(goal) or 0) > 0]
    if not goals or known != list(goals) or len(set(goals)) < len(goals):
        raise UserError(
            f"{flag}: expected {'one' if flag == '--goal' else 'some'} of {' '.join(full_goals())} bytes-N, each once, got "
            f"{' '.join(goals) or 'none'}"
        )


def probe_metric(goal: str) -> str:
    """The metric of a probe that a goal is.

    >>> probe_metric("retrieval"), probe_metric("bytes-128")
    ('probe/ndcg_at_10', 'probe/score_at_128_bytes')
    """
    budget = budget_of(goal)
    return f"probe/score_at_{budget}_bytes" if budget else f"probe/{full_goals()[goal]}"


def best_row(report: Report, goal: str) -> ScoreRow | None:
    """The score that a goal means: full float32, or the best retrieval of any codec within the bytes; None: not measured.

    Args:
        report: what was measured.
        goal: retrieval, clustering or bytes-N.
    """
    metric, budget = full_goals().get(goal, Retrieval.metric), budget_of(goal)
    rows = [
        row
        for row in report.scores
        if row.metric == metric and (row.bytes_per_vector <= budget if budget else report.is_full(row))
    ]
    return max(rows, key=lambda row: (row.score, -row.bytes_per_vector), default=None)


def goal_values(report: Report, goals: Sequence[str]) -> list[float]:
    """One score for each goal.

    Raises:
        UserError: a goal that was not measured, such as clustering on data without labels.
    """
    rows = [best_row(report, goal) for goal in goals]
    if missing := [goal for goal, row in zip(goals, rows, strict=True) if row is None]:
        hint = "clustering needs labels in the test data" if "clustering" in missing else "raise the budget"
        raise UserError(f"--goals: expected a score for each, got none for {' '.join(missing)}; {hint}")
    return [row.score for row in rows if row]
