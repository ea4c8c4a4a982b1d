"""The table of objectives: what each trial scores in full, and what it keeps when compressed."""

from typing import Any

COLUMNS = (
    "objective", "seed", "nDCG@10", "V-measure", "PCA-95", "kept 1/4 width", "kept binary", "kept binary+rerank",
    "kept 1/4 binary",
)  # fmt: skip


def find(result: dict[str, Any], metric: str, codec: str, dim: int) -> dict[str, Any] | None:
    """The row of a report's scores, or None."""
    rows = (r for r in result["scores"] if (r["metric"], r["codec"], r["dim"]) == (metric, codec, dim))
    return next(rows, None)


def full_width(result: dict[str, Any]) -> int:
    """The width of a trial's embeddings."""
    return max(row["dim"] for row in result["scores"])


def table_row(result: dict[str, Any]) -> list[str]:
    """One trial as text, in the order of COLUMNS."""
    full = full_width(result)

    def cell(metric: str, codec: str, dim: int, key: str) -> str:
        row = find(result, metric, codec, dim)
        return "" if row is None or row[key] is None else f"{row[key]:.3f}"

    return [
        result["objective"],
        str(result["seed"]),
        cell("ndcg_at_10", "float32", full, "score"),
        cell("v_measure", "float32", full, "score"),
        str(result["geometry"]["pca95"]),
        cell("ndcg_at_10", "float32", full // 4, "retention"),
        cell("ndcg_at_10", "binary", full, "retention"),
        cell("ndcg_at_10", "binary_rerank", full, "retention"),
        cell("ndcg_at_10", "binary", full // 4, "retention"),
    ]


def result_table(results: list[dict[str, Any]]) -> str:
    """All trials as a Markdown table, aligned for reading in a terminal."""
    rows = [list(COLUMNS), *map(table_row, results)]
    sizes = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(c.ljust(n) for c, n in zip(row, sizes, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (n + 2) for n in sizes) + "|")
    return "\n".join(lines)
