"""Which geometry measure predicts what compression keeps: rank correlations over models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from tempembed.reports.table import find, full_width

RESAMPLES = 2000
LEAST_MODELS = 5
TARGETS = {
    "1/4 width": ("float32", 4), "binary": ("binary", 1), "1/4 width, binary": ("binary", 4),
}  # fmt: skip
"""What is predicted: codec, and the full width divided by."""


def predictors(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spearman's correlation of each geometry measure with the retention of nDCG@10, strongest mean first.

    One row a measure: `{"measure", "mean", target: {"rho", "ci"}}`. Intervals: 95 % percentiles over 2,000 resamples of
    the models; with few models they are wide, and models of one sweep are no random sample of all models.
    Empty with fewer than 5 models.
    """
    reports = [report for report in reports if report.get("geometry") and report.get("scores")]
    if len(reports) < LEAST_MODELS:
        return []
    names = [
        name
        for name, value in reports[0]["geometry"].items()
        if isinstance(value, int | float) and name not in ("n", "pca95_random")
    ]
    retention = {}
    for target, (codec, part) in TARGETS.items():
        rows = [find(report, "ndcg_at_10", codec, full_width(report) // part) for report in reports]
        if all(row is not None and row["retention"] is not None for row in rows):
            retention[target] = np.array([row["retention"] for row in rows if row])
    picks = np.random.default_rng(0).integers(len(reports), size=(RESAMPLES, len(reports)))
    found = []
    for name in names:
        values = np.array([report["geometry"].get(name, np.nan) for report in reports], dtype=float)
        if not np.isfinite(values).all() or len(set(values)) == 1:
            continue
        row: dict[str, Any] = {"measure": name}
        for target, kept in retention.items():
            resampled = [_spearman(values[pick], kept[pick]) for pick in picks]
            low, high = np.nanquantile(resampled, (0.025, 0.975))
            row[target] = {"rho": _spearman(values, kept), "ci": (float(low), float(high))}
        row["mean"] = float(np.mean([abs(row[target]["rho"]) for target in retention])) if retention else 0.0
        found.append(row)
    return sorted(found, key=lambda row: -row["mean"])


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    if len(set(x)) < 2 or len(set(y)) < 2:
        return float("nan")
    return float(spearmanr(x, y).statistic)
