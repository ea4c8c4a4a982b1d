"""The paper's directions over the temperature, judged on the trials of a sweep."""

import itertools
from collections.abc import Sequence

from tempembed.reports.table import Table
from tempembed.tuning.trial import Trial

NOTE = (
    "Judged on the two ends of the sweep: a direction holds if their 95 % intervals lie apart that way (PCA-95: if it never "
    "rises). Trials that differ in their seed are one point: the mean, in an interval that covers those of all seeds."
)


def directions(single: Sequence[Trial]) -> list[tuple[str, bool, str]]:
    """(claim, whether it holds here, the numbers) for plain InfoNCE by rising temperature (docs/design/paper.md 1.7, 1-4).

    A direction holds if the ends of the sweep differ that way by more than their 95 % intervals overlap; for
    PCA-95, which has no interval, if it never rises. One seed: not the spread between runs.
    """
    reports = [trial.measured for trial in single]
    low, high, full = reports[0], reports[-1], reports[0].width
    ends = f"τ {single[0].terms[0].temperature:g} → {single[-1].terms[0].temperature:g}"
    judged = []

    def by_interval(claim: str, metric: str, codec: str, dim: int, sign: int, *, kept: bool) -> None:
        a, b = low.find(metric, codec, dim), high.find(metric, codec, dim)
        if a is None or b is None:
            return
        below, above = (a, b) if sign > 0 else (b, a)
        if kept:
            holds = (above.retention_ci_low or 0) > (below.retention_ci_high or 0)
        else:
            holds = above.ci_low > below.ci_high
        rows = [row for report in reports if (row := report.find(metric, codec, dim))]
        curve = ", ".join(f"{(row.retention or 0) if kept else row.score:.3f}" for row in rows)
        judged.append((claim, holds, f"{ends}: {curve}"))

    by_interval("retrieval falls", "ndcg_at_10", "float32", full, -1, kept=False)
    by_interval("clustering rises, then levels off", "v_measure", "float32", full, 1, kept=False)
    sizes = [report.geometry["pca95"] for report in reports]
    falls = all(a >= b for a, b in itertools.pairwise(sizes)) and sizes[0] > sizes[-1]
    judged.append(("intrinsic dimension (PCA-95) falls", falls, f"{ends}: {', '.join(map(str, sizes))}"))
    quarter = full // 4
    by_interval("truncation to a quarter keeps more", "ndcg_at_10", "float32", quarter, 1, kept=True)
    by_interval("binarisation (32x) keeps more", "ndcg_at_10", "binary", full, 1, kept=True)
    by_interval("both (128x) keep more", "ndcg_at_10", "binary", quarter, 1, kept=True)
    return judged


def directions_table(single: Sequence[Trial]) -> Table:
    """The directions with their verdicts."""
    rows = tuple(
        (claim, "holds" if holds else "does not hold", numbers)
        for claim, holds, numbers in directions(single)
    )
    return Table(rows=rows, note=NOTE, prose=frozenset({2}))
