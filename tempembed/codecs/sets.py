"""Which codecs are measured: the paper's, those of a byte budget, those of a run, those of the laboratory."""

from collections.abc import Sequence

from tempembed.codecs.builtin import number_codecs
from tempembed.codecs.spec import RERANKS, Spec
from tempembed.system.errors import UserError

BUDGETS = (16, 32, 64, 128, 256, 512)
"""Bytes per vector at which codecs are compared."""
ALIAS_BUDGETS = (512, 128, 32)
"""Those that every trial of a sweep measures, and that the registry has an alias for."""


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


def budget_specs(full: int, budgets: Sequence[int] = BUDGETS) -> list[Spec]:
    """Every sensible way to spend each budget, from one bit to 32 a coordinate, and product quantisation."""
    specs: list[Spec] = []
    for budget in budgets:
        for name, codec in number_codecs().items():
            specs += _spent(full, budget, name, codec.lab_methods)
        specs += [Spec(width=8 * budget, numbers="binary", rerank="bits")] if 8 * budget <= full else []
    return specs


def sweep_specs(full: int, budgets: Sequence[int]) -> list[Spec]:
    """The paper's, and for each budget the cheap ways to spend it that have won here: what every trial of a sweep measures.

    Raises:
        UserError: a budget that no codec meets.
    """
    # at equal bytes with all coordinates in bits: a prefix of 1/32 (docs/design/paper.md 1.7, claim 4)
    specs = [*paper_specs(full, draws=1), Spec(width=max(1, full // 32))]
    for budget in budgets:
        for name, codec in number_codecs().items():
            for spec in _spent(full, budget, name, codec.sweep_methods):
                # a rotation of all coordinates is worth less here than its seconds: only where it leaves some out
                if spec.method == "prefix" or spec.width < full:
                    specs.append(spec)
                    specs += (
                        [Spec(method=spec.method, width=spec.width, numbers=name, rerank="bits")]
                        if spec.is_bits
                        else []
                    )
        least = min(spec.bytes_per_vector for spec in specs)
        if least > budget:
            raise UserError(
                f"budget of {budget} bytes: expected at least {least}, the smallest codec of {full} coordinates that is measured"
            )
    return list(dict.fromkeys(specs))


def ways(full: int, budgets: Sequence[int], names: Sequence[str], methods: Sequence[str]) -> list[Spec]:
    """Every budget spent with each of these number codecs and each choice of coordinates, and all coordinates."""
    found = [spec for budget in budgets for name in names for spec in _spent(full, budget, name, methods)]
    whole = [Spec(width=full, numbers=name) for name in names if not number_codecs()[name].takes_argument]
    return list(dict.fromkeys([*found, *whole]))


def _spent(full: int, budget: int, name: str, methods: Sequence[str]) -> list[Spec]:
    """A number codec at a budget, with each choice of coordinates; none where no width takes so many bytes."""
    found = number_codecs()[name].within(budget, full)
    return [Spec(method=m, width=found[0], numbers=name, argument=found[1]) for m in methods] if found else []


def probe_specs(full: int, budget: int) -> list[Spec]:
    """Codecs of at most the budget that cost next to nothing; all coordinates where these take less."""
    specs = []
    for name, codec in number_codecs().items():
        if codec.in_probe:
            width, argument = codec.within(budget, 8 * budget) or (full, 0)
            specs.append(Spec(width=min(width, full), numbers=name, argument=argument))
    return [spec for spec in specs if spec.bytes_per_vector <= budget]


def fitting_specs(full: int) -> list[Spec]:
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
        Spec(width=full, numbers=name)
        for name, codec in number_codecs().items()
        if codec.lab_methods and not codec.takes_argument
    ]
    specs += [Spec(width=full, numbers="binary", rerank=how) for how in RERANKS]  # type: ignore[arg-type]
    specs += [Spec(width=full, numbers="binary", rerank="bits", depth=depth) for depth in (10, 30, 300, 1000)]
    return list(dict.fromkeys(specs))
