"""Which trials no other beats in every goal."""

from collections.abc import Sequence


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Nowhere worse and somewhere better; more is better."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def pareto_ranks(points: Sequence[Sequence[float]]) -> list[int]:
    """1 for the front, 2 for the front of the rest, and so on (non-dominated sorting, Deb et al. 2002).

    >>> pareto_ranks([(1, 3), (2, 2), (1, 1)])
    [1, 1, 2]
    """
    ranks = [0] * len(points)
    rank = 0
    while left := [i for i, r in enumerate(ranks) if not r]:
        rank += 1
        for i in [i for i in left if not any(dominates(points[j], points[i]) for j in left)]:
            ranks[i] = rank
    return ranks
