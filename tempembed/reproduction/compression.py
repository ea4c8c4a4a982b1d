"""What terms on signs are worth to an index of bits: claims, and which objective to train for a budget of bytes.

Scores are shares of the full float score of one objective, TempAggMRL: a model that keeps all of a poor score wins nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tempembed.codecs.spec import parse_spec
from tempembed.reproduction.finding import Finding, Test, Verdict, concluded, judge
from tempembed.reproduction.quantities import (
    BINARY,
    BOTH,
    BOTH_RERANKED,
    FULL,
    HALF_RERANKED,
    RERANKED,
    Form,
    Quantity,
    score,
)
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Group, NotMeasured, Results
from tempembed.reproduction.sample import Sample, difference, paired, share

REFERENCE = "TempAggMRL"
STORED = (BINARY, RERANKED, HALF_RERANKED, BOTH, BOTH_RERANKED)
"""What an index of bits shows."""
COMPARED = (score(RETRIEVAL), score(CLUSTERING), *(score(RETRIEVAL, form) for form in STORED))
"""What two objectives are compared in."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A share of the reference's full score that a form is to reach."""

    key: str
    form: Form
    least: float
    surely: float
    """The least that the interval may reach down to."""

    @property
    def claim(self) -> str:
        """In words."""
        surely = "" if self.surely == self.least else f", its interval {100 * self.surely:g} %"
        return f"In {self.form.times} less, {self.form.name}: at least {100 * self.least:g} % of {REFERENCE}'s full score{surely}"

    def verdict(self, sample: Sample) -> Verdict:
        """By the mean and the interval."""
        if judge(sample.interval, 1, self.surely) == "holds" and sample.mean >= self.least:
            return "holds"
        return "does not hold" if judge(sample.interval, 1, self.least) == "does not hold" else "undecided"


TARGETS = (
    Target(key="1a", form=RERANKED, least=0.99, surely=0.985),
    Target(key="1b", form=BINARY, least=0.975, surely=0.975),
    Target(key="1c", form=BOTH_RERANKED, least=0.935, surely=0.935),
)
CHEAP = 0.01
"""The share of the full score that terms on signs may cost."""


def of_reference(results: Results, form: Form = FULL) -> Quantity:
    """A form's share of the reference's full score."""
    return Quantity(
        name=f"{form.name}, {form.times}", unit="kept",
        of=lambda group: share(
            group.score(RETRIEVAL, form.spec(group.width)), results.group(REFERENCE).score(RETRIEVAL)
        ),
    )  # fmt: skip


def compression_claims(results: Results) -> Iterator[Test]:
    """Targets of each objective with views; what views add to their baselines; and whether it is the views that do."""
    labels = [group.entry.label for group in results.role("views")]
    for target in TARGETS:
        for label in (REFERENCE, *labels):
            yield target.key, target.claim, partial(_reaches, results, target, label)
    for key, form in (("2a", BINARY), ("2b", RERANKED), ("2c", BOTH_RERANKED)):
        claim = f"Views raise the score of {form.name} ({form.times})"
        for label in labels:
            yield key, claim, partial(_gain, results, key, claim, label, "", form)
    for key, form in (("3a", BINARY), ("3b", RERANKED), ("3c", BOTH_RERANKED)):
        claim = f"It is the signs, not their small temperatures: {form.name} ({form.times})"
        yield key, claim, partial(_gain, results, key, claim, "TempAggMRL + signs", "TempAggMRL + floats", form)  # fmt: skip
    for key, form in (("4a", BINARY), ("4b", RERANKED), ("4c", BOTH_RERANKED)):
        claim = f"Signs gain more at τ = 0.02 to 0.04 than at 0.06: {form.name} ({form.times})"
        yield key, claim, partial(_gain, results, key, claim, "TempAggMRL + signs", "TempAggMRL + signs at τ=0.06", form)  # fmt: skip
    claim = f"At full size views cost at most {100 * CHEAP:g} %"
    for label in labels:
        yield "5", claim, partial(_cost, results, claim, label)


def _reaches(results: Results, target: Target, label: str) -> Finding:
    sample = of_reference(results, target.form).of(results.group(label))
    return concluded(
        target.key, target.claim, label, sample, sign=1, margin=target.least, unit="kept",
        verdict=target.verdict(sample),
    )  # fmt: skip


def _baseline(results: Results, label: str) -> tuple[Group, Group]:
    group = results.group(label)
    return group, results.group(group.entry.against)


def _gain(results: Results, key: str, claim: str, label: str, against: str, form: Form) -> Finding:
    quantity = score(RETRIEVAL, form)
    group, baseline = _baseline(results, label)
    baseline = results.group(against) if against else baseline
    a, b = quantity.of(group), quantity.of(baseline)
    return concluded(
        key, claim, f"nDCG@10: {label} minus {baseline.entry.label}", difference(a, b), sign=1,
        detail=f"{a.mean:.4f} against {b.mean:.4f}",
    )  # fmt: skip


def _cost(results: Results, claim: str, label: str) -> Finding:
    group, baseline = _baseline(results, label)
    a, b = group.score(RETRIEVAL), baseline.score(RETRIEVAL)
    return concluded(
        "5", claim, f"nDCG@10: {label} against {baseline.entry.label}, relative",
        paired(lambda r: r - 1, share(a, b)), sign=1, margin=-CHEAP, unit="relative",
        detail=f"{a.mean:.4f} against {b.mean:.4f}",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best codec of an objective within a budget."""

    group: Group
    spec: str
    score: Sample
    of_reference: Sample
    """Its share of the reference's full score."""


def best_within(results: Results, group: Group, budget: int) -> Best:
    """Of the codecs within a budget of bytes that all models were measured under, the one with the best mean over the seeds.

    Raises:
        NotMeasured: there is none, or no reference.
    """
    rows = [
        {row.spec for row in run.report.of_task(RETRIEVAL) if row.bytes_per_vector <= budget}
        for each in results.groups
        for run in each.runs
    ]
    there = sorted(set.intersection(*rows))
    if not there:
        raise NotMeasured(f"{group.entry.label}: {RETRIEVAL} within {budget} bytes")
    samples = {spec: group.score(RETRIEVAL, parse_spec(spec, group.width)) for spec in there}
    spec = max(samples, key=lambda each: samples[each].mean)
    full = results.group(REFERENCE).score(RETRIEVAL)
    return Best(group=group, spec=spec, score=samples[spec], of_reference=share(samples[spec], full))


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to train for a budget."""

    budget: int
    best: Best
    cost: Sample
    """What the objective costs at full size, of the reference's full score: below 0 it loses."""
    equals: tuple[Best, ...]
    """What the data cannot tell from it: the paired interval of the difference holds zero."""
    reference: Best
    """The reference by its own best codec."""
    gain: Sample
    """Best minus reference, in score."""


def advice(results: Results) -> list[Advice]:
    """For each budget of the preset the objective, by its best codec, with the best mean."""
    found = []
    reference = results.group(REFERENCE)
    for budget in results.preset.budgets:
        every = sorted(
            (best_within(results, group, budget) for group in results.groups), key=lambda b: -b.score.mean
        )
        best, *others = every
        own = next(each for each in every if each.group is reference)
        found.append(
            Advice(
                budget=budget, best=best, reference=own, gain=difference(best.score, own.score),
                cost=paired(lambda r: r - 1, share(best.group.score(RETRIEVAL), reference.score(RETRIEVAL))),
                equals=tuple(o for o in others if judge(difference(best.score, o.score).interval, 1) != "holds"),
            )
        )  # fmt: skip
    return found
