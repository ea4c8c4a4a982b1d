"""The trials of a sweep side by side."""

from collections.abc import Sequence

from tempembed.reports.table import Table
from tempembed.tuning.trial import Trial

DIMENSION = "PCA-95"
COLUMNS = (
    "objective", "seed", "nDCG@10", "V-measure", DIMENSION, "kept 1/4 width", "kept binary", "kept binary+rerank",
    "kept 1/4 binary",
)  # fmt: skip
NOTE = (
    '"kept" is the share of the same model\'s full float32 nDCG@10: a quarter of the width (4x smaller), one bit a coordinate '
    "(32x), the same with the top 100 re-ranked by the float query, and a quarter of the width in bits (128x). Bold: best of "
    f"the column (for {DIMENSION} the smallest)."
)


def trial_table(trials: Sequence[Trial]) -> Table:
    """The scores of finished trials, the best of each column marked."""
    rows = tuple(map(_cells, trials))
    best = set()
    for column, name in enumerate(COLUMNS[2:], start=2):
        if values := [float(row[column]) for row in rows if row[column]]:
            wanted = min(values) if name == DIMENSION else max(values)
            best |= {
                (i, column) for i, row in enumerate(rows) if row[column] and float(row[column]) == wanted
            }
    return Table(head=COLUMNS, rows=rows, note=NOTE, best=frozenset(best))


def trial_text(trials: Sequence[Trial]) -> str:
    """The same as a Markdown table, aligned for reading in a terminal."""
    head, *rows = trial_table(trials).aligned()
    rule = "|" + "|".join("-" * (len(cell) + 2) for cell in head) + "|"
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def _cells(trial: Trial) -> tuple[str, ...]:
    report = trial.measured
    full = report.width

    def cell(metric: str, codec: str, dim: int, *, kept: bool) -> str:
        row = report.find(metric, codec, dim)
        value = None if row is None else row.retention if kept else row.score
        return "" if value is None else f"{value:.3f}"

    return (
        trial.objective,
        str(trial.seed),
        cell("ndcg_at_10", "float32", full, kept=False),
        cell("v_measure", "float32", full, kept=False),
        str(report.geometry["pca95"]),
        cell("ndcg_at_10", "float32", full // 4, kept=True),
        cell("ndcg_at_10", "binary", full, kept=True),
        cell("ndcg_at_10", "binary_rerank", full, kept=True),
        cell("ndcg_at_10", "binary", full // 4, kept=True),
    )
