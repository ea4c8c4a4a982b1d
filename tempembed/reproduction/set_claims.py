"""Claims 6 to 8: several temperatures at once, against the best single one and against each other."""

from collections.abc import Callable, Iterator
from functools import partial

from tempembed.reproduction.finding import Finding, Test, all_of, concluded, judge
from tempembed.reproduction.presets import BEST_SINGLE
from tempembed.reproduction.quantities import BINARY, RERANKED, TRUNCATED, Form, Quantity, kept, score
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Results
from tempembed.reproduction.sample import difference, paired, share

CLOSE = 0.01
"""A score that is at most 1 % below another is close to it."""
ABOUT_99 = 0.985
"""What rounds to 99 %."""
MATCHES = 'models of several τ "slightly below best" [S]'
ABOUT = "about 99 % [R]"
"""Numbers 17 and 16 of docs/design/paper.md section 2, with their tags."""


def set_claims(results: Results) -> Iterator[Test]:
    """Claims 6 to 8."""
    for key, claim, test in (
        ("6a", "Several temperatures: retrieval is close to the best single τ", _close),
        ("6b", "Several temperatures: clustering is above that of the τ that is best in retrieval", _above),
        ("6c", "Several temperatures: clustering is above it by a large margin", _far_above),
    ):
        for label in ("TempAgg", "TempAggMRL"):
            yield key, claim, partial(test, results, key, claim, label)
    for key, claim, label, kind in (
        ("7a", "TempAggMRL has the best score after compression", "TempAggMRL", score),
        ("7b", "TempSpecMRL keeps most under compression", "TempSpecMRL", kept),
    ):
        for form in (TRUNCATED, BINARY, RERANKED):
            yield key, claim, partial(_best_of_all, results, key, claim, label, form, kind)
    claim = "TempSpecMRL keeps about 99 % at 32x with re-ranking"
    yield "8", claim, partial(_about_99, results, claim)


def _close(results: Results, key: str, claim: str, label: str) -> Finding:
    best, group = results.group(BEST_SINGLE), results.group(label)
    a, b = group.score(RETRIEVAL), best.score(RETRIEVAL)
    return concluded(
        key, claim, f"nDCG@10: {label} against {best.entry.label}, relative; close is above {-CLOSE:.0%}",
        paired(lambda r: r - 1, share(a, b)), sign=1, margin=-CLOSE, unit="relative",
        detail=f"{a.mean:.4f} against {b.mean:.4f}", paper=MATCHES,
    )  # fmt: skip


def _above(results: Results, key: str, claim: str, label: str) -> Finding:
    best, group = results.group(BEST_SINGLE), results.group(label)
    a, b = group.score(CLUSTERING), best.score(CLUSTERING)
    return concluded(
        key, claim, f"V-measure: {label} minus {best.entry.label}", difference(a, b), sign=1,
        detail=f"{a.mean:.4f} against {b.mean:.4f}",
    )  # fmt: skip


def _far_above(results: Results, key: str, claim: str, label: str) -> Finding:
    best, group = results.group(BEST_SINGLE), results.group(label)
    top = results.best("single", CLUSTERING)
    a, b, c = (each.score(CLUSTERING) for each in (group, best, top))
    gap = c.mean - b.mean
    way = f", {(a.mean - b.mean) / gap:.0%} of the way" if gap > 0 else ""
    return concluded(
        key, claim,
        f"V-measure: {label} minus the middle between {best.entry.label} and {top.entry.label}, the best in clustering "
        "(large: at least half of the way, our reading)",
        paired(lambda x, y, z: x - (y + z) / 2, a, b, c), sign=1,
        detail=f"{a.mean:.4f} between {b.mean:.4f} and {c.mean:.4f}{way}",
    )  # fmt: skip


def _best_of_all(
    results: Results, key: str, claim: str, label: str, form: Form, kind: Callable[[str, Form], Quantity]
) -> Finding:
    """Against each model of the paper's Table 2; shown is the strongest rival."""
    quantity, group = kind(RETRIEVAL, form), results.group(label)
    names = [BEST_SINGLE, *(name for name in ("TempAgg", "TempAggMRL", "TempSpecMRL") if name != label)]
    rivals = [results.group(name) for name in names]
    differences = {rival.entry.label: difference(quantity.of(group), quantity.of(rival)) for rival in rivals}
    strongest = min(differences, key=lambda name: differences[name].mean)
    values = [f"{rival.entry.label} {quantity.text(quantity.of(rival).mean)}" for rival in (group, *rivals)]
    return concluded(
        key, claim, f"{quantity.name}: {label} minus {strongest}, the strongest rival",
        differences[strongest], sign=1, unit=quantity.unit, detail=", ".join(values),
        verdict=all_of([judge(each.interval, 1) for each in differences.values()]),
    )  # fmt: skip


def _about_99(results: Results, claim: str) -> Finding:
    return concluded(
        "8", claim, "nDCG@10 kept by TempSpecMRL, binary, top 100 re-ranked; about 99 % is above 98.5 %",
        kept(RETRIEVAL, RERANKED).of(results.group("TempSpecMRL")), sign=1, margin=ABOUT_99, unit="kept",
        paper=ABOUT,
    )  # fmt: skip
