"""The paper's directions over the temperature, judged on the trials of a sweep."""

import itertools
from typing import Any

from tempembed.reports.table import find, full_width


def directions(single: list[dict[str, Any]]) -> list[tuple[str, bool, str]]:
    """(claim, whether it holds here, the numbers) for plain InfoNCE by rising temperature (docs/design/paper.md 1.7, 1-4).

    A direction holds if the ends of the sweep differ that way by more than their 95 % intervals overlap; for
    PCA-95, which has no interval, if it never rises. One seed: not the spread between runs.
    """
    low, high, full = single[0], single[-1], full_width(single[0])
    ends = f"τ {low['terms'][0]['temperature']:g} → {high['terms'][0]['temperature']:g}"
    judged = []

    def by_interval(claim: str, metric: str, codec: str, dim: int, key: str, sign: int) -> None:
        a, b = find(low, metric, codec, dim), find(high, metric, codec, dim)
        if a is None or b is None:
            return
        prefix = "ci" if key == "score" else "retention_ci"
        below, above = (a, b) if sign > 0 else (b, a)
        holds = above[f"{prefix}_low"] > below[f"{prefix}_high"]
        curve = ", ".join(f"{row[key]:.3f}" for r in single if (row := find(r, metric, codec, dim)))
        judged.append((claim, holds, f"{ends}: {curve}"))

    by_interval("retrieval falls", "ndcg_at_10", "float32", full, "score", -1)
    by_interval("clustering rises, then levels off", "v_measure", "float32", full, "score", 1)
    sizes = [r["geometry"]["pca95"] for r in single]
    falls = all(a >= b for a, b in itertools.pairwise(sizes)) and sizes[0] > sizes[-1]
    judged.append(("intrinsic dimension (PCA-95) falls", falls, f"{ends}: {', '.join(map(str, sizes))}"))
    quarter = full // 4
    by_interval("truncation to a quarter keeps more", "ndcg_at_10", "float32", quarter, "retention", 1)
    by_interval("binarisation (32x) keeps more", "ndcg_at_10", "binary", full, "retention", 1)
    by_interval("both (128x) keep more", "ndcg_at_10", "binary", quarter, "retention", 1)
    return judged
