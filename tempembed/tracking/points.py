"""A measured model as metric points. Pure: the shape of what MLflow's compare view draws."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tempembed.codecs.sets import BUDGETS
from tempembed.evaluation.report import Report
from tempembed.objectives.term import Terms
from tempembed.settings.train import TrainSettings
from tempembed.tracking.tracker import Tracker
from tempembed.tuning.goals import best_row, full_goals
from tempembed.tuning.verdict import VERDICT, Verdict

GEOMETRY = (
    "participation_ratio", "rankme", "isoscore", "twonn", "alignment", "uniformity", "bit_balance", "bit_correlation",
    "bit_participation", "bit_margin",
)  # fmt: skip
"""Measures that are metrics; the report has about thirty."""


def evaluation_points(report: Report) -> list[tuple[str, float, int]]:
    """(key, value, step) of a report.

    Curves over the width have the width as their step, ascending, so that the compare view draws retention curves over
    each other and tables show the full width; the spectrum has its rank as the step. What the report has besides is in its
    file. docs/metrics.md says what each is.
    """
    geometry = report.geometry
    points = [(f"geometry/{name}", float(geometry[name]), 0) for name in GEOMETRY if name in geometry]
    for rank, share in geometry.get("spectrum", ()):
        points.append(("geometry/spectrum", share, rank))
    for row in sorted(report.scores, key=lambda row: row.dim):
        points.append((f"eval/{row.metric}/{row.codec}", row.score, row.dim))
        if row.retention is not None:
            points.append((f"retention/{row.metric}/{row.codec}", row.retention, row.dim))
    full = {(row.task, row.spec) for row in report.scores if report.is_full(row)}
    for part in report.by_source or ():
        if (part.task, part.spec) in full:
            points.append((f"eval/{part.metric}/source/{part.source}", part.score, 0))
    return points + summary_points(report)


def summary_points(report: Report) -> list[tuple[str, float, int]]:
    """The figures that models are compared by, which are a logged model's too.

    `intrinsic_dimension`, `retention_at_N_bytes` and `score_at_N_bytes` (the best codec within N bytes) have names that
    MLflow's search box takes: `metrics.intrinsic_dimension < 600 and metrics.retention_at_128_bytes > 0.95`.
    """
    points = []
    if "pca95" in report.geometry:
        points.append(("intrinsic_dimension", float(report.geometry["pca95"]), 0))
    for goal in full_goals():
        if best := best_row(report, goal):
            points.append((f"score/{goal}", best.score, 0))
    for budget in BUDGETS:
        best = best_row(report, f"bytes-{budget}")
        if best and best.retention is not None:
            points.append((f"retention_at_{budget}_bytes", best.retention, 0))
            points.append((f"score_at_{budget}_bytes", best.score, 0))
    return points


def tell_verdict(verdict: Verdict, trackers: Iterable[Tracker], run: str, folder: Path) -> None:
    """Tell trackers of a run's verdict: a metric for each figure, tags, and the file."""
    for tracker in trackers:
        tracker.points(run, verdict.points())
        for key, value in verdict.tags().items():
            tracker.tag(run, key, value)
        tracker.file(run, (folder / VERDICT).absolute())


def cost_points(cost: Mapping[str, float]) -> list[tuple[str, float, int]]:
    """Pairs a second, seconds of each part, and bytes at the peak."""
    return [(f"cost/{name}", float(value), 0) for name, value in cost.items()]


def temperature_points(terms: Terms) -> list[tuple[str, float, int]]:
    """Temperatures of an objective as numbers, the x axis of a scatter plot: weighted mean, least and most."""
    total = sum(term.weight for term in terms)
    taus = [term.temperature for term in terms]
    mean = sum(term.weight * term.temperature for term in terms) / total
    return [
        ("temperature/mean", mean, 0),
        ("temperature/min", min(taus), 0),
        ("temperature/max", max(taus), 0),
    ]


def model_facts(settings: TrainSettings) -> dict[str, str]:
    """What a logged model is, for MLflow's table of models."""
    return {
        "objective": settings.loss.objective_name,
        "encoder": settings.model.encoder,
        "data": settings.data.name,
        "batch_size": str(settings.batches.batch_size),
        "seed": str(settings.loop.seed),
    }
