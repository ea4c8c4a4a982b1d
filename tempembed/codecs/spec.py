"""What a codec is, as text: `pca:128+int8`, `prefix:256+binary+rerank:bits:100`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from tempembed.system.errors import UserError

Method = Literal["prefix", "random", "variance", "pca", "whiten"]
Numbers = Literal["float32", "float16", "int8", "int4", "binary", "median", "rotated", "itq", "pq"]
Rerank = Literal["bits", "unbiased", "int8", "float"]
BITS = ("binary", "median", "rotated", "itq")
"""Number codecs of one bit a coordinate, compared by Hamming distance."""
HELP = (
    f"[{'|'.join(get_args(Method))}:WIDTH][+{'|'.join(get_args(Numbers)[:-1])}|pq:BYTES]"
    f"[+rerank:{'|'.join(get_args(Rerank))}[:DEPTH]], for example pca:128+int8 or binary+rerank:bits:100"
)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A codec by name: which coordinates, how many, in which numbers; and what re-ranks its search."""

    method: Method = "prefix"
    width: int
    """Coordinates that are kept."""
    seed: int = 0
    """Of the choice (random)."""
    numbers: Numbers = "float32"
    pq_bytes: int = 0
    """Bytes of a product-quantised vector (pq)."""
    rerank: Rerank | None = None
    """What orders the best `depth` of a Hamming search; see compression.search."""
    depth: int = 100
    """Candidates that are re-ranked; the paper's Table 2 takes 100."""

    def __str__(self) -> str:
        seed = f":{self.seed}" if self.method == "random" and self.seed else ""
        parts = [
            f"{self.method}:{self.width}{seed}",
            f"pq:{self.pq_bytes}" if self.numbers == "pq" else self.numbers,
        ]
        if self.rerank:
            parts.append(f"rerank:{self.rerank}:{self.depth}")
        return "+".join(parts)

    @property
    def family(self) -> str:
        """Without the seed: random draws of one family are averaged."""
        return str(replace(self, seed=0))

    @property
    def search(self) -> "Spec":
        """Without the re-ranking."""
        return replace(self, rerank=None, depth=100)

    @property
    def is_bits(self) -> bool:
        """One bit a coordinate."""
        return self.numbers in BITS

    @property
    def bytes_per_vector(self) -> int:
        """Stored for a document, with what its re-ranking needs beside the code that is searched."""
        return self.search_bytes + self.rerank_bytes

    @property
    def search_bytes(self) -> int:
        """Of the code that is searched."""
        if self.numbers == "pq":
            return self.pq_bytes
        bits = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}.get(self.numbers, 1)
        return -(-self.width * bits // 8)

    @property
    def rerank_bytes(self) -> int:
        """Beside it: nothing for `bits`, a float16 norm for `unbiased`, a second copy for `int8` and `float`."""
        sizes = {"bits": 0, "unbiased": 2, "int8": self.width, "float": 4 * self.width}
        return sizes[self.rerank] if self.rerank else 0


def parse_spec(text: str, full: int) -> Spec:
    """Read `[METHOD:WIDTH[:SEED]][+NUMBERS][+rerank:HOW[:DEPTH]]`; what is left out is the full width, float32.

    >>> str(parse_spec("binary", 1024)), parse_spec("prefix:256+binary", 1024).bytes_per_vector
    ('prefix:1024+binary', 32)

    Raises:
        UserError: not of that form, or a width, byte count or depth that cannot be.
    """

    def refuse(why: str) -> UserError:
        return UserError(f"codec {text[:80]!r}: expected {HELP}; {why}")

    spec = Spec(width=full)
    seen: list[str] = []
    for part in text.strip().split("+"):
        name, *numbers = part.split(":")
        place = "rerank" if name == "rerank" else "method" if name in get_args(Method) else "numbers"
        if seen and ("method", "numbers", "rerank").index(place) <= ("method", "numbers", "rerank").index(
            seen[-1]
        ):
            raise refuse(f"got {part[:40]!r} after {seen[-1]}: the order is cut, then numbers, then rerank")
        seen.append(place)
        how = numbers.pop(0) if place == "rerank" and numbers else ""
        if not all(re.fullmatch(r"\d{1,9}", n) for n in numbers):
            raise refuse(f"got {part[:40]!r}")
        values = [int(n) for n in numbers]
        if place == "method" and 1 <= len(values) <= (2 if name == "random" else 1):
            seed = values[1] if len(values) > 1 else 0
            spec = replace(spec, method=cast(Method, name), width=values[0], seed=seed)
        elif name == "pq" and len(values) == 1:
            spec = replace(spec, numbers="pq", pq_bytes=values[0])
        elif place == "numbers" and name != "pq" and name in get_args(Numbers) and not values:
            spec = replace(spec, numbers=cast(Numbers, name))
        elif place == "rerank" and how in get_args(Rerank) and len(values) <= 1:
            spec = replace(spec, rerank=cast(Rerank, how), depth=values[0] if values else 100)
        else:
            raise refuse(f"got {part[:40]!r}")
    if not 1 <= spec.width <= full:
        raise refuse(f"the model has {full} coordinates, got width {spec.width}")
    if spec.numbers == "pq" and (spec.pq_bytes < 1 or spec.width % spec.pq_bytes):
        raise refuse(f"pq needs bytes that divide the width {spec.width}, got {spec.pq_bytes}")
    if spec.rerank and not spec.is_bits:
        raise refuse(f"re-ranking follows a codec of bits ({', '.join(BITS)}), got {spec.numbers}")
    if spec.rerank and spec.depth < 1:
        raise refuse("got depth 0")
    return spec


def halvings(full: int, smallest: int = 32) -> list[int]:
    """The full width and its halvings down to `smallest`, ascending.

    >>> halvings(1024)
    [32, 64, 128, 256, 512, 1024]
    """
    found = [full]
    while found[0] // 2 >= min(smallest, full):
        found.insert(0, found[0] // 2)
    return found


def paper_specs(full: int, draws: int = 3) -> list[Spec]:
    """The paper's: truncation, random choices, sign bits, and these re-ranked, at the halvings of the width."""
    specs = []
    for width in halvings(full):
        specs.append(Spec(width=width))
        if width < full:
            specs += [Spec(method="random", width=width, seed=seed) for seed in range(draws)]
        specs += [Spec(width=width, numbers="binary"), Spec(width=width, numbers="binary", rerank="bits")]
    return specs


BUDGETS = (16, 32, 64, 128, 256, 512)
"""Bytes per vector at which codecs are compared."""
ALIAS_BUDGETS = (512, 128, 32)
"""Those that every trial of a sweep measures, and that the registry has an alias for."""


def budget_specs(full: int, budgets: tuple[int, ...] = BUDGETS) -> list[Spec]:
    """Every sensible way to spend each budget, from one bit to 32 a coordinate, and product quantisation."""
    specs: list[Spec] = []
    for budget in budgets:
        for numbers, width, methods in (
            ("float32", budget // 4, ("prefix", "pca")),
            ("float16", budget // 2, ("prefix",)),
            ("int8", budget, ("prefix", "variance", "pca", "whiten")),
            ("int4", 2 * budget, ("prefix", "pca")),
            ("binary", 8 * budget, ("prefix",)),
            ("median", 8 * budget, ("prefix",)),
            ("rotated", 8 * budget, ("prefix",)),
            ("itq", 8 * budget, ("pca",)),
        ):
            if 1 <= width <= full:
                specs += [Spec(method=m, width=width, numbers=numbers) for m in methods]  # type: ignore[arg-type]
        if full % budget == 0:
            specs.append(Spec(width=full, numbers="pq", pq_bytes=budget))
        if 8 * budget <= full:
            specs.append(Spec(width=8 * budget, numbers="binary", rerank="bits"))
    return specs


def sweep_specs(full: int, budgets: Sequence[int]) -> list[Spec]:
    """The paper's, and for each budget the cheap ways to spend it that have won here: what every trial of a sweep measures.

    Raises:
        UserError: a budget that no codec meets.
    """
    # at equal bytes with all coordinates in bits: a prefix of 1/32 (docs/design/paper.md 1.7, claim 4)
    specs = [*paper_specs(full, draws=1), Spec(width=max(1, full // 32))]
    for budget in budgets:
        ways = (("int8", budget), ("int4", 2 * budget))
        specs += [Spec(width=w, numbers=n) for n, w in ways if w <= full]  # type: ignore[arg-type]
        # a rotation of all coordinates is worth less here than its seconds: only where it leaves some out
        specs += [Spec(method="pca", width=w, numbers=n) for n, w in ways if w < full]  # type: ignore[arg-type]
        if 8 * budget < full:
            specs += [
                Spec(method="pca", width=8 * budget, numbers="itq", rerank=how) for how in (None, "bits")
            ]
        least = min(spec.bytes_per_vector for spec in specs)
        if least > budget:
            raise UserError(
                f"budget of {budget} bytes: expected at least {least}, the smallest codec of {full} coordinates that is measured"
            )
    return list(dict.fromkeys(specs))


def clustering_specs(full: int) -> list[Spec]:
    """The paper's at the halvings down to a quarter, without those that order a search: k-means costs seconds a codec."""
    return [
        Spec(width=width, numbers=n)
        for width in halvings(full, max(1, full // 4))
        for n in ("float32", "binary")
    ]


def lab_specs(full: int) -> list[Spec]:
    """The paper's and those of the budgets, full-width numbers, and every way to re-rank full-width bits."""
    specs = paper_specs(full) + budget_specs(full)
    specs += [
        Spec(width=full, numbers=n) for n in ("float16", "int8", "int4", "binary", "median", "rotated", "itq")
    ]
    specs += [Spec(width=full, numbers="binary", rerank=how) for how in get_args(Rerank)]
    specs += [Spec(width=full, numbers="binary", rerank="bits", depth=depth) for depth in (10, 30, 300, 1000)]
    return list(dict.fromkeys(specs))
