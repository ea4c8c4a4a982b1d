"""Claim 5: what prefixes (MRL) add to one temperature, at each temperature that was run with and without them."""

from collections.abc import Iterator
from functools import partial

from tempembed.reproduction.finding import Finding, Test, concluded
from tempembed.reproduction.quantities import BINARY, DIMENSION, TRUNCATED, Quantity, kept, score
from tempembed.reproduction.results import RETRIEVAL, Group, NotMeasured, Results
from tempembed.reproduction.sample import difference

PAPER: dict[tuple[str, float | None], str] = {("5c", 0.04): "95.3 % without, 96.1 % with MRL [R]"}
"""Number 11 of docs/design/paper.md section 2, with its tag."""


def prefix_claims(results: Results) -> Iterator[Test]:
    """Claim 5; 5a to 5d once for each temperature."""
    parts: list[tuple[str, str, Quantity, int]] = [
        ("5a", "MRL lowers the intrinsic dimension", DIMENSION, -1),
        ("5b", "MRL raises what truncation keeps", kept(RETRIEVAL, TRUNCATED), 1),
        ("5c", "MRL raises what binarisation keeps", kept(RETRIEVAL, BINARY), 1),
        ("5d", "MRL raises the full-width score", score(RETRIEVAL), 1),
    ]
    temperatures = [group.entry.temperature for group in results.role("mrl")] or [None]
    for key, claim, quantity, sign in parts:
        for tau in temperatures:
            yield key, claim, partial(_gain, results, key, claim, quantity, sign, tau)
    largest = "The gain of MRL at full width is largest at small τ"
    yield "5e", largest, partial(_largest_gain, results, largest)


def _with_and_without(results: Results, tau: float | None) -> tuple[Group, Group]:
    if tau is None:
        raise NotMeasured("MRL at a temperature")
    return results.group(f"MRL τ={tau:g}"), results.group(f"InfoNCE τ={tau:g}")


def _gain(
    results: Results, key: str, claim: str, quantity: Quantity, sign: int, tau: float | None
) -> Finding:
    prefixes, plain = _with_and_without(results, tau)
    a, b = quantity.of(prefixes), quantity.of(plain)
    return concluded(
        key, claim, f"{quantity.name}: MRL minus InfoNCE at τ = {tau:g}", difference(a, b), sign=sign,
        unit=quantity.unit, detail=f"{quantity.text(a.mean)} against {quantity.text(b.mean)}",
        paper=PAPER.get((key, tau), ""),
    )  # fmt: skip


def _largest_gain(results: Results, claim: str) -> Finding:
    groups, quantity = results.role("mrl"), score(RETRIEVAL)
    if len(groups) < 2:
        raise NotMeasured("MRL at two temperatures")
    gains = {
        group.tau: difference(*map(quantity.of, _with_and_without(results, group.tau))) for group in groups
    }
    low, high = min(gains), max(gains)
    rows = ", ".join(f"{gain.mean:+.4f}" for gain in gains.values())
    return concluded(
        "5e", claim, f"gain of nDCG@10 by MRL: at τ = {low:g} minus at τ = {high:g}", difference(gains[low], gains[high]),
        sign=1, detail=f"{rows} at τ = {', '.join(f'{tau:g}' for tau in gains)}",
    )  # fmt: skip
