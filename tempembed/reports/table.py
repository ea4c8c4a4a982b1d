"""Tables as text: trials, models compared, measures that predict, the scores of a report."""

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


def difference_table(rows: list[dict[str, Any]]) -> str:
    """Paired differences of two models; `*` where the interval leaves zero out."""
    lines = [
        f"{'task':<21}{'codec':<24}{'first':>8}{'second':>8}{'diff.':>9}  {'95 % interval':<19}{'kept diff.':>10}"
    ]
    for row in rows:
        low, high = row["ci"]
        first, second = row["scores"]
        mark = "*" if low > 0 or high < 0 else " "
        kept_low, kept_high = row["retention_ci"]
        spec = row["spec"] if row["spec"] == row["other_spec"] else f"{row['spec']} / {row['other_spec']}"
        lines.append(
            f"{row['task'][:20]:<21}{spec:<24}{first:8.4f}{second:8.4f}{row['difference']:+9.4f}{mark} "
            f"{low:+.4f} .. {high:+.4f}  {row['retention_difference']:+9.3f} ({kept_low:+.3f} .. {kept_high:+.3f})"
        )
    return "\n".join(lines)


def predictor_table(rows: list[dict[str, Any]], num_models: int) -> str:
    """Which geometry measure predicts retention, strongest first."""
    if not rows:
        return f"which geometry measure predicts retention: needs at least 5 models, got {num_models}"
    targets = [name for name in rows[0] if name not in ("measure", "mean")]
    lines = [
        f"rank correlation with retention of nDCG@10 over {num_models} models (95 % interval over the models)"
    ]
    lines.append(f"{'measure':<30}" + "".join(f"{target:<26}" for target in targets))
    for row in rows:
        cells = [f"{row[t]['rho']:+.2f} ({row[t]['ci'][0]:+.2f} .. {row[t]['ci'][1]:+.2f})" for t in targets]
        lines.append(f"{row['measure']:<30}" + "".join(f"{cell:<26}" for cell in cells))
    return "\n".join(lines)


def score_table(report: dict[str, Any]) -> str:
    """The report as text."""
    geometry = report["geometry"]
    lines = [
        "   ".join(
            f"{name} {value:.4g}" for name, value in geometry.items() if isinstance(value, int | float)
        ),
        f"{'task':<21}{'codec':<32}{'bytes':>6}{'score':>8}  {'95 % interval':<17}{'kept':>7}  {'95 % interval'}",
    ]
    for row in sorted(report["scores"], key=lambda r: (r["task"], -r["bytes_per_vector"], -r["score"])):
        line = (
            f"{row['task'][:20]:<21}{row['spec']:<32}{row['bytes_per_vector']:>6}{row['score']:8.4f}  "
            f"{row['ci_low']:.4f} - {row['ci_high']:.4f}"
        )
        if row["retention"] is not None:
            line += (
                f"  {row['retention']:7.3f}  {row['retention_ci_low']:.3f} - {row['retention_ci_high']:.3f}"
            )
        lines.append(line)
    lines += left_out_lines(report)
    lines += [
        f"{row['task']} of the vectors as the model gives them, not normalised: {row['raw_score']:.5f}"
        for row in report["scores"]
        if row["raw_score"] is not None
    ]
    lines += [f"mteb's own score of {name}: {score:.5f}" for name, score in report.get("mteb", {}).items()]
    return "\n".join(lines)


def left_out_lines(report: dict[str, Any]) -> list[str]:
    """Codecs that a task's documents cannot have, and why."""
    return [f"left out on {one['task']}: {one['why']}" for one in report.get("skipped", ())]
