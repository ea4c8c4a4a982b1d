"""Means over the tasks of a kind."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.evaluation.report import FULL_PRECISION, MeanRow, ScoreRow
from tempembed.evaluation.statistics import interval, ratio


def means_over_tasks(
    scores: Sequence[ScoreRow], replicates: Mapping[str, Tensor], part_of: Mapping[str, str] | None = None
) -> list[MeanRow]:
    """The mean over the tasks of a kind, of each codec that all of them have.

    `retention_of_means` is mean score / mean full score, `mean_of_retentions` the mean over tasks of score / full
    score; the paper does not say which it takes (docs/design/paper.md 1.4). Intervals: every task resampled by itself. Parts of a task
    (`part_of`: name to task), such as the sub-forums of CQADupstack, share the weight of one.
    """
    kinds: dict[str, dict[str, list[ScoreRow]]] = {}
    for row in scores:
        kinds.setdefault(row.kind, {}).setdefault(row.spec, []).append(row)
    found = []
    for specs in kinds.values():
        num_tasks = max(map(len, specs.values()))
        floats = [row for rows in specs.values() for row in rows if row.codec == FULL_PRECISION]
        full = {row.task: row for row in sorted(floats, key=lambda row: row.dim)}  # the widest stays
        for rows in specs.values():
            if len(rows) == num_tasks and all(row.retention is not None for row in rows):
                weights = _weights([(part_of or {}).get(row.task, row.task) for row in rows])
                found.append(_mean(rows, [full[row.task] for row in rows], weights, replicates))
    return found


def _mean(
    rows: Sequence[ScoreRow],
    wholes: Sequence[ScoreRow],
    weights_T: Float[Tensor, " T"],
    replicates: Mapping[str, Tensor],
) -> MeanRow:
    """One codec, and full precision, on the same tasks."""

    def mean(values: Sequence[float | None]) -> float:
        return float(weights_T @ torch.tensor(values, dtype=torch.float64))

    each_TR = torch.stack([replicates[row.key] for row in rows]).double()
    whole_TR = torch.stack([replicates[row.key] for row in wholes]).double()
    parts_R = weights_T @ each_TR
    score, first = mean([row.score for row in rows]), rows[0]
    return MeanRow(
        kind=first.kind, spec=first.spec, codec=first.codec, dim=first.dim, bytes_per_vector=first.bytes_per_vector,
        num_tasks=len(rows), score=score, ci=interval(parts_R),
        retention_of_means=score / mean([row.score for row in wholes]),
        retention_of_means_ci=interval(ratio(parts_R, weights_T @ whole_TR)),
        mean_of_retentions=mean([row.retention for row in rows]),
        mean_of_retentions_ci=interval(weights_T @ ratio(each_TR, whole_TR)),
    )  # fmt: skip


def _weights(tasks: Sequence[str]) -> Float[Tensor, " T"]:
    """Equal for all tasks, and within a task for its parts."""
    num = len(set(tasks))
    return torch.tensor([1 / (num * tasks.count(name)) for name in tasks], dtype=torch.float64)
