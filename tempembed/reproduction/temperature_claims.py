"""Claims 1 to 4: what a rising temperature does to quality, to the intrinsic dimension, and to what compression keeps."""

import math
from functools import partial
from itertools import pairwise

from tempembed.reproduction.finding import Finding, Test, all_of, concluded, judge
from tempembed.reproduction.presets import HIGHEST, LOWEST
from tempembed.reproduction.quantities import (
    BINARY,
    BOTH,
    DIMENSION,
    EQUAL,
    SPREAD,
    TRUNCATED,
    Quantity,
    curve,
    kept,
    score,
)
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Group, NotMeasured, Results
from tempembed.reproduction.sample import Sample, average, difference, paired

PAPER = {
    "3a": "93 % at τ = 0.04, 99 % at 0.4 [R]; at most 97.5 % with a high dimension, up to 99 % with a low one [H]",
    "3b": "at most 97.5 % with a high dimension, up to 99 % with a low one [H]",
    "3c": "87 %, τ not stated [S]",
}
"""Numbers 7, 8 and 10 of docs/design/paper.md section 2, with their tags."""
EXPLAINED = "Binarisation keeps more where the coordinates' variances are more alike"
"""No claim of the paper: what "Coordinate heterogeneity governs binary quantization" (arXiv:2605.17524) predicts of the two ends of τ."""


def sweep(results: Results) -> list[Group]:
    """Plain InfoNCE over the paper's range of temperatures.

    Raises:
        NotMeasured: fewer than two.
    """
    groups = [group for group in results.role("single") if LOWEST <= group.tau <= HIGHEST]
    if len(groups) < 2:
        raise NotMeasured("InfoNCE at two temperatures")
    return groups


def temperature_claims(results: Results) -> list[Test]:
    """Claims 1 to 4."""
    directions: list[tuple[str, str, Quantity, int]] = [
        ("1a", "Retrieval falls as τ rises", score(RETRIEVAL), -1),
        ("1b", "Clustering rises with τ", score(CLUSTERING), 1),
        ("2a", "The intrinsic dimension falls as τ rises", DIMENSION, -1),
        ("3a", "Truncation keeps more as τ rises", kept(RETRIEVAL, TRUNCATED), 1),
        ("3b", "Binarisation keeps more as τ rises", kept(RETRIEVAL, BINARY), 1),
        ("3c", "Both together keep more as τ rises", kept(RETRIEVAL, BOTH), 1),
    ]
    found: list[Test] = [
        (key, claim, partial(ends, results, key, claim, quantity, sign, PAPER.get(key, "")))
        for key, claim, quantity, sign in directions
    ]
    levels, falls = "The rise of clustering levels off", "The intrinsic dimension falls at every step of τ"
    equal = "At equal bytes binarisation keeps more than truncation"
    found += [
        ("1c", levels, partial(_levels_off, results, levels)),
        ("2b", falls, partial(_every_step, results, falls)),
        ("4", equal, partial(_equal_bytes, results, equal)),
        ("9", EXPLAINED, partial(_explained, results, EXPLAINED)),
    ]
    return sorted(found, key=lambda test: test[0])


def ends(results: Results, key: str, claim: str, quantity: Quantity, sign: int, paper: str = "") -> Finding:
    """A direction over τ, judged on the two ends of the sweep."""
    groups = sweep(results)
    first, last = groups[0], groups[-1]
    return concluded(
        key, claim, f"{quantity.name}: τ = {last.tau:g} minus τ = {first.tau:g}",
        difference(quantity.of(last), quantity.of(first)), sign=sign, unit=quantity.unit,
        detail=curve(groups, quantity), paper=paper,
    )  # fmt: skip


def _levels_off(results: Results, claim: str) -> Finding:
    groups, quantity = sweep(results), score(CLUSTERING)
    if len(groups) < 3:
        raise NotMeasured("InfoNCE at three temperatures")

    def per_doubling(low: Group, high: Group) -> Sample:
        octaves = math.log2(high.tau / low.tau)
        return paired(lambda a, b: (a - b) / octaves, quantity.of(high), quantity.of(low))

    first, last = per_doubling(*groups[:2]), per_doubling(*groups[-2:])
    steps = [f"{a.tau:g} to {b.tau:g}" for a, b in (groups[:2], groups[-2:])]
    return concluded(
        "1c", claim, f"V-measure gained per doubling of τ: from {steps[1]} minus from {steps[0]}",
        difference(last, first), sign=-1, detail=f"{first.mean:+.4f} at first, {last.mean:+.4f} at last",
    )  # fmt: skip


def _every_step(results: Results, claim: str) -> Finding:
    groups = sweep(results)
    steps = {(a, b): difference(DIMENSION.of(b), DIMENSION.of(a)) for a, b in pairwise(groups)}
    (low, high), least = max(steps.items(), key=lambda step: step[1].mean)
    falls = sum(step.mean < 0 for step in steps.values())
    return concluded(
        "2b", claim, f"{DIMENSION.name}: the smallest step, τ = {high.tau:g} minus τ = {low.tau:g}", least,
        sign=-1, unit="components", detail=f"falls in {falls} of {len(steps)} steps",
        verdict=all_of([judge(step.interval, -1) for step in steps.values()]),
    )  # fmt: skip


def _equal_bytes(results: Results, claim: str) -> Finding:
    groups, binary, prefix = sweep(results), kept(RETRIEVAL, BINARY), kept(RETRIEVAL, EQUAL)
    each = [difference(binary.of(group), prefix.of(group)) for group in groups]
    width = groups[0].width
    return concluded(
        "4", claim,
        f"nDCG@10 kept in {width // 8} bytes: {width} bits minus {width // 32} float32 coordinates, mean over τ",
        average(*each), sign=1, unit="share",
        detail=f"{', '.join(f'{100 * one.mean:+.1f} pp' for one in each)} at τ = {', '.join(f'{group.tau:g}' for group in groups)}",
    )  # fmt: skip


def _explained(results: Results, claim: str) -> Finding:
    groups, binary = sweep(results), kept(RETRIEVAL, BINARY)
    alike, spread = sorted((groups[0], groups[-1]), key=lambda group: SPREAD.of(group).mean)
    return concluded(
        "9", claim,
        f"{binary.name}: τ = {alike.tau:g}, where the spread is {SPREAD.text(SPREAD.of(alike).mean)}, minus τ = {spread.tau:g}, "
        f"where it is {SPREAD.text(SPREAD.of(spread).mean)}",
        difference(binary.of(alike), binary.of(spread)), sign=1, unit="share",
        detail=f"kept {curve(groups, binary)}\nspread {curve(groups, SPREAD)}", paper="not the paper's: arXiv:2605.17524",
    )  # fmt: skip
