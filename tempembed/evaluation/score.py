"""One task under all codecs: scores, shares of the full score, and their bootstrap intervals."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.report import ScoreRow, Skipped, SourceRow
from tempembed.evaluation.statistics import Mean, Statistic, interval, ratio, resample_counts
from tempembed.evaluation.task import Task
from tempembed.system.errors import UserError
from tempembed.system.names import source_metrics

QUIET_SECONDS = 10
"""Between two lines of progress."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one task."""

    rows: Sequence[ScoreRow]
    skipped: Sequence[Skipped]
    replicates: Mapping[str, Tensor]
    """Bootstrap replicates by `ScoreRow.key`."""
    by_source: Sequence[SourceRow] = ()


def score_codecs(
    task: Task,
    queries_QD: Tensor,
    documents: Documents,
    wanted: Sequence[Spec],
    raw: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Score every codec that a task can have; random draws of one family are averaged.

    Args:
        task: the task.
        queries_QD: embeddings of its queries.
        documents: of its documents.
        wanted: the codecs; float32 at full width is among them.
        raw: score the vectors as the model gives them as well, where that is another score.
        say: takes lines of progress.
    """
    families: dict[Spec, list[Statistic]] = {}
    skipped: dict[Spec, str] = {}
    last = time.monotonic()
    for number, (spec, found) in enumerate(task.measure(queries_QD, documents, wanted), 1):
        if isinstance(found, UserError):
            skipped.setdefault(spec.without_seed, str(found))
        else:
            families.setdefault(spec.without_seed, []).append(found)
        if time.monotonic() - last > QUIET_SECONDS:
            last = time.monotonic()
            say(f"{task.name}: {number} of {len(wanted)} codecs, {spec}")
    full = Spec(width=documents.unit_MD.shape[1])
    resamples_RN = resample_counts(task.name, families[full][0].num_items)
    replicates = {
        spec: torch.stack([one.resampled(resamples_RN) for one in draws]).mean(0)
        for spec, draws in families.items()
    }
    reference = sum(one.value for one in families[full])
    raw_score = task.measure_raw(documents) if raw else None
    rows = []
    for spec, draws in families.items():
        row = _row(task, spec, draws, replicates[spec], replicates[full], reference)
        if spec == full:
            row = replace(
                row,
                raw_score=raw_score.value if raw_score else None,
                retention=None if reference <= 0 else 1.0,
            )
        rows.append(row)
    return Scores(
        rows=rows,
        skipped=[Skipped(task=task.name, spec=str(spec), why=why) for spec, why in skipped.items()],
        replicates={f"{task.name}|{spec}": values.float() for spec, values in replicates.items()},
        by_source=_by_source(task, families),
    )


def _by_source(task: Task, families: Mapping[Spec, Sequence[Statistic]]) -> list[SourceRow]:
    """The scores of each source's items, where they are of several and a score is the mean over items."""
    numbers, rows = torch.tensor(list(task.sources)), []
    for number, name in enumerate(source_metrics(task.source_names)):
        items = (numbers == number).nonzero()[:, 0]
        for spec, draws in families.items() if len(items) else ():
            means = [one.part(items) for one in draws if isinstance(one, Mean)]
            if not means:
                continue
            resamples_RN = resample_counts(f"{task.name}|{name}", len(items))
            low, high = interval(torch.stack([one.resampled(resamples_RN) for one in means]).mean(0))
            rows.append(SourceRow(
                task=task.name, source=name, spec=str(spec), metric=task.metric, bytes_per_vector=spec.bytes_per_vector,
                score=sum(one.value for one in means) / len(means), ci_low=low, ci_high=high, num_items=len(items),
            ))  # fmt: skip
    return rows


def _row(
    task: Task, spec: Spec, draws: Sequence[Statistic], own_R: Tensor, full_R: Tensor, reference: float
) -> ScoreRow:
    """The score of a codec, the mean of its draws."""
    values = torch.tensor([one.value for one in draws], dtype=torch.float64)
    score = values.mean().item()
    low, high = interval(own_R)
    kept_low, kept_high = interval(ratio(own_R, full_R))
    return ScoreRow(
        task=task.name, kind=task.kind, metric=task.metric, spec=str(spec), codec=spec.name, dim=spec.width,
        bytes_per_vector=spec.bytes_per_vector, search_bytes_per_vector=spec.search_bytes,
        score=score, ci_low=low, ci_high=high, retention=None if reference <= 0 else score / reference,
        num_items=draws[0].num_items, num_draws=len(values),
        std_over_draws=values.std().item() if len(values) > 1 else None,
        retention_ci_low=kept_low, retention_ci_high=kept_high,
    )  # fmt: skip
