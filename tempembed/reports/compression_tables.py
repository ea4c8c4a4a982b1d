"""The tables of the study of compression: what to train for a budget, all objectives by budget and by form, what explains bits."""

import math
from collections.abc import Sequence

import torch

from tempembed.reports.predictors import spearman
from tempembed.reports.sweep_page import predictor_table
from tempembed.reports.table import Table
from tempembed.reproduction.compression import (
    REFERENCE,
    STORED,
    Advice,
    advice,
    best_within,
    of_reference,
)
from tempembed.reproduction.finding import Unit, amount, span
from tempembed.reproduction.quantities import BINARY, FULL, kept, score
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, NotMeasured, Results
from tempembed.reproduction.sample import Sample

CANDIDATES = ("variance_spread", "bit_correlation", "bit_participation", "bit_margin", "bit_balance")
"""Measures that were proposed to explain what bits keep."""


def advice_table(results: Results) -> Table:
    """The objective and codec with the best score for each budget."""
    return Table(
        title="What to train for how many bytes",
        head=(
            "bytes", "objective", "codec", f"of {REFERENCE}'s full score", f"minus {REFERENCE}, by its best codec",
            f"at full size, against {REFERENCE}", "as good, by the data",
        ),
        rows=tuple(map(_advice_row, advice(results))), prose=frozenset({1, 2, 6}),
        note="The best mean over the seeds of any codec that was measured within the budget, which favours it a little. As good: the "
        "paired interval of the difference holds zero. In brackets 95 %.",
    )  # fmt: skip


def _advice_row(found: Advice) -> tuple[str, ...]:
    others = [f"{each.group.entry.label}, {each.spec}" for each in found.equals]
    return (
        str(found.budget), found.best.group.entry.label, found.best.spec, _with_interval(found.best.of_reference, "kept"),
        _with_interval(found.gain, "score"), _with_interval(found.cost, "relative"), "\n".join(others) or "none",
    )  # fmt: skip


def _with_interval(sample: Sample, unit: Unit) -> str:
    return f"{amount(sample.mean, unit)} ({span(sample.interval, unit)})"


def budget_table(results: Results) -> Table:
    """Every objective at full size and by its best codec within each budget."""
    budgets, rows, means = results.preset.budgets, [], []
    for group in results.groups:
        full = of_reference(results).of(group)
        found = [best_within(results, group, budget) for budget in budgets]
        rows.append((group.entry.label, f"{full.mean:.1%}", *(f"{each.of_reference.mean:.1%}\n{each.spec}" for each in found)))  # fmt: skip
        means.append([full.mean, *(each.of_reference.mean for each in found)])
    best = {(_top([row[j] for row in means]), j + 1) for j in range(len(budgets) + 1)}
    return Table(
        title="All objectives, by bytes", head=("objective", "full size", *(f"{budget} bytes" for budget in budgets)),
        rows=tuple(rows), best=frozenset(best),
        note=f"Share of {REFERENCE}'s full nDCG@10, mean over the seeds, and the best codec within the bytes.",
    )  # fmt: skip


def form_table(results: Results) -> Table:
    """Every objective in what an index of bits shows."""
    rows, means = [], []
    for group in results.groups:
        samples = [of_reference(results, form).of(group) for form in STORED]
        try:
            clusters = f"{group.score(CLUSTERING).mean:.3f}"
        except NotMeasured:
            clusters = ""
        rows.append(
            (group.entry.label, f"{group.score(RETRIEVAL).mean:.4f}", clusters, *(_lines(sample) for sample in samples))
        )  # fmt: skip
        means.append([sample.mean for sample in samples])
    best = {(_top([row[j] for row in means]), j + 3) for j in range(len(STORED))}
    names = [f"{form.name}, {form.times}" for form in STORED]
    return Table(
        title="All objectives, as bits",
        head=("objective", score(RETRIEVAL, FULL).name, score(CLUSTERING, FULL).name, *names),
        rows=tuple(rows), best=frozenset(best),
        note=f"Scores of full embeddings; then shares of {REFERENCE}'s full nDCG@10, means over the seeds with 95 %.",
    )  # fmt: skip


def _lines(sample: Sample) -> str:
    return f"{amount(sample.mean, 'kept')}\n{span(sample.interval, 'kept')}"


def _top(values: Sequence[float]) -> int:
    return values.index(max(values))


def explanation_table(results: Results) -> Table | None:
    """Measures of the geometry against what bits keep, over all models; None with few."""
    return predictor_table([run.report for group in results.groups for run in group.runs], most=100)


def strongest(results: Results) -> list[tuple[str, float]]:
    """The candidates with their rank correlation to what bits keep, over all models, strongest first."""
    kept_M = torch.cat([kept(RETRIEVAL, BINARY).of(group).values_S for group in results.groups]).numpy()
    found = []
    for measure in CANDIDATES:
        try:
            values_M = torch.cat([group.measure(measure).values_S for group in results.groups]).numpy()
        except NotMeasured:
            continue
        if not math.isnan(rho := float(spearman(values_M, kept_M))):
            found.append((measure, rho))
    return sorted(found, key=lambda pair: -abs(pair[1]))
