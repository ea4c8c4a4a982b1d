"""Trials that differ in their seed alone, as one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import fmean

from tempembed.evaluation.report import ScoreRow
from tempembed.tuning.trial import Trial


def over_seeds(trials: Sequence[Trial]) -> list[Trial]:
    """One trial for each objective: means over its seeds, in intervals that cover those of all seeds."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.objective, []).append(trial)
    return [_merged(group) if len(group) > 1 else group[0] for group in groups.values()]


def _merged(group: Sequence[Trial]) -> Trial:
    def key(row: ScoreRow) -> tuple[str, str, int]:
        return row.metric, row.codec, row.dim

    first = group[0].measured
    rows = sorted((row for trial in group for row in trial.measured.scores), key=key)
    pca95 = round(fmean(trial.measured.geometry["pca95"] for trial in group))
    report = replace(
        first,
        scores=tuple(_merged_row(list(same)) for _, same in groupby(rows, key)),
        geometry={**first.geometry, "pca95": pca95},
    )
    return replace(group[0], report=report)


def _merged_row(rows: Sequence[ScoreRow]) -> ScoreRow:
    def kept(join: Callable[[list[float]], float], name: str) -> float | None:
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        return join(values) if values else None

    return replace(
        rows[0], score=fmean(row.score for row in rows), ci_low=min(row.ci_low for row in rows),
        ci_high=max(row.ci_high for row in rows), retention=kept(fmean, "retention"),
        retention_ci_low=kept(min, "retention_ci_low"), retention_ci_high=kept(max, "retention_ci_high"),
    )  # fmt: skip
