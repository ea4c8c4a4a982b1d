"""Trials that differ in their seed alone, as one."""

from itertools import groupby
from statistics import fmean
from typing import Any


def over_seeds(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One result for each objective: means over its seeds, in intervals that cover those of all seeds."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["objective"], []).append(result)
    return [_merged(group) if len(group) > 1 else group[0] for group in groups.values()]


def _merged(group: list[dict[str, Any]]) -> dict[str, Any]:
    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["metric"], row["codec"], row["dim"]

    rows = sorted((row for result in group for row in result["scores"]), key=key)
    pca95 = round(fmean(result["geometry"]["pca95"] for result in group))
    return {
        **group[0],
        "scores": [_merged_row(list(same)) for _, same in groupby(rows, key)],
        "geometry": {**group[0]["geometry"], "pca95": pca95},
    }


def _merged_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    merged = dict(rows[0])
    for name, combine in (
        ("score", fmean), ("ci_low", min), ("ci_high", max),
        ("retention", fmean), ("retention_ci_low", min), ("retention_ci_high", max),
    ):  # fmt: skip
        values = [row[name] for row in rows if row.get(name) is not None]
        merged[name] = combine(values) if values else None
    return merged
