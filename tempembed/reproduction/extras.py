"""What the paper's reviewers missed (docs/design/paper.md 1.8): comparisons with baselines, the spread over seeds, cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from tempembed.reproduction.finding import Finding, Unit, attempted
from tempembed.reproduction.quantities import BINARY, BOTH, COMPARED, TRUNCATED, Quantity, kept
from tempembed.reproduction.results import CLUSTERING, Group, NotMeasured, Results
from tempembed.reproduction.sample import Interval, Sample, difference
from tempembed.reproduction.temperature_claims import ends


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A paired difference in one quantity."""

    effect: float
    interval: Interval | None
    unit: Unit

    @property
    def is_there(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An entry against its baseline."""

    question: str
    label: str
    baseline: str
    cells: tuple[Cell | None, ...]
    """In the order of the quantities; None: not measured."""


def comparisons(results: Results, quantities: Sequence[Quantity] = COMPARED) -> list[Comparison]:
    """Comparisons of the entries that name a baseline, if both were measured, in some quantities."""
    found = []
    for group in results.groups:
        if not group.entry.against:
            continue
        try:
            baseline = results.group(group.entry.against)
        except NotMeasured:
            continue
        found.append(
            Comparison(
                question=group.entry.question, label=_label(group), baseline=baseline.entry.label,
                cells=tuple(_cell(quantity, group, baseline) for quantity in quantities),
            )
        )  # fmt: skip
    return found


def _label(group: Group) -> str:
    ended = ", ".join(f"{tau:.4f}" for tau in group.ended_at)
    return f"{group.entry.label} (ended at {ended})" if ended else group.entry.label


def _cell(quantity: Quantity, group: Group, baseline: Group) -> Cell | None:
    try:
        sample = difference(quantity.of(group), quantity.of(baseline))
    except NotMeasured:
        return None
    return Cell(effect=sample.mean, interval=sample.interval, unit=quantity.unit)


def clustering_claims(results: Results) -> list[Finding]:
    """Claim 3 on clustering, which the paper did not compress."""
    forms = {"3a": (TRUNCATED, "truncation keeps"), "3b": (BINARY, "binarisation keeps"), "3c": (BOTH, "both together keep")}  # fmt: skip
    found = []
    for key, (form, what) in forms.items():
        claim = f"Clustering: {what} more as τ rises"
        found.append(attempted(key, claim, partial(ends, results, key, claim, kept(CLUSTERING, form), 1)))
    return found


def samples_of(quantity: Quantity, groups: Sequence[Group]) -> dict[str, Sample]:
    """A quantity by label, of the groups that have it."""
    found = {}
    for group in groups:
        try:
            found[group.entry.label] = quantity.of(group)
        except NotMeasured:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the seeds of an objective lie apart."""

    quantity: Quantity
    typical: float
    """The mean over objectives of the standard deviation over seeds."""
    widest: float
    """The largest distance between two seeds."""
    where: str
    """Label of that objective."""


def spreads(results: Results, quantities: Sequence[Quantity] = COMPARED) -> list[Spread]:
    """The spread of each quantity that objectives are compared in; empty with one seed."""
    found = []
    for quantity in quantities:
        samples = {k: v for k, v in samples_of(quantity, results.groups).items() if len(v.seeds) > 1}
        if not samples:
            continue
        ranges = {k: (v.values_S.max() - v.values_S.min()).item() for k, v in samples.items()}
        where = max(ranges, key=lambda label: ranges[label])
        typical = fmean(sample.values_S.std().item() for sample in samples.values())
        found.append(Spread(quantity=quantity, typical=typical, widest=ranges[where], where=where))
    return found


COSTS = ("train_seconds", "pairs_per_second", "peak_bytes", "evaluation_seconds", "overhead_seconds")


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """The cost of a run, mean over the seeds; None where it was not recorded."""

    label: str
    encoder: str
    num_terms: int
    values: tuple[float | None, ...]
    """In the order of COSTS."""


def costs(results: Results) -> list[RunCost]:
    """The cost of every objective."""
    return [
        RunCost(
            label=group.entry.label, encoder=group.entry.encoder, num_terms=len(group.runs[0].trial.terms),
            values=tuple(_mean([run.cost.get(name) for run in group.runs]) for name in COSTS),
        )
        for group in results.groups
    ]  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
