"""Which geometry measure predicts what compression keeps: rank correlations over models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from tempembed.evaluation.report import Report

RESAMPLES = 2000
LEAST_MODELS = 5
TARGETS = {
    "1/4 width": ("float32", 4), "binary": ("binary", 1), "binary, re-ranked": ("binary_rerank", 1),
    "1/4 width, binary": ("binary", 4),
}  # fmt: skip
"""What is predicted: codec, and the full width divided by."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's rank correlation over models."""

    rho: float
    ci: tuple[float, float]
    """95 % percentiles over 2,000 resamples of the models."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A measure of the geometry against what compression keeps."""

    measure: str
    correlations: Mapping[str, Correlation]
    """Correlations by name from TARGETS, as far as every model has the score."""

    @property
    def strength(self) -> float:
        """Mean absolute correlation."""
        return float(np.mean([abs(c.rho) for c in self.correlations.values()])) if self.correlations else 0.0


def predictors(reports: Sequence[Report]) -> list[Predictor]:
    """Correlation of each geometry measure with the retention of nDCG@10, strongest first; empty with fewer than 5 models.

    With few models the intervals are wide, and models of one sweep are no random sample of all models.
    """
    reports = [report for report in reports if report.geometry and report.scores]
    if len(reports) < LEAST_MODELS:
        return []
    names = [
        name
        for name, value in reports[0].geometry.items()
        if isinstance(value, int | float) and name not in ("n", "pca95_random")
    ]
    kept = {target: values for target in TARGETS if (values := _retention(reports, target)) is not None}
    picks = np.random.default_rng(0).integers(len(reports), size=(RESAMPLES, len(reports)))
    found = []
    for name in names:
        values = np.array([report.geometry.get(name, np.nan) for report in reports], dtype=float)
        if np.isfinite(values).all() and len(set(values)) > 1:
            correlations = {target: _correlation(values, each, picks) for target, each in kept.items()}
            found.append(Predictor(measure=name, correlations=correlations))
    return sorted(found, key=lambda row: -row.strength)


def _retention(reports: Sequence[Report], target: str) -> np.ndarray | None:
    """The retention of each model; None if one was not measured."""
    codec, part = TARGETS[target]
    rows = [report.find("ndcg_at_10", codec, report.width // part) for report in reports]
    values = [row.retention for row in rows if row and row.retention is not None]
    return np.array(values) if len(values) == len(reports) else None


def _correlation(x: np.ndarray, y: np.ndarray, picks: np.ndarray) -> Correlation:
    rho = float(spearman(x, y))
    if np.isnan(rho):  # all models keep the same: so do those of every resample
        return Correlation(rho=rho, ci=(rho, rho))
    low, high = np.nanquantile(spearman(x[picks], y[picks]), (0.025, 0.975))
    return Correlation(rho=rho, ci=(float(low), float(high)))


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rank correlation along the last axis; NaN where one of them is constant."""
    a, b = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
