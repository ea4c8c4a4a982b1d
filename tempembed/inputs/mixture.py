"""Rows of weighted sources in the order in which they are drawn: a function of (seed, source, position) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK_ROWS = 65_536
"""Passes over a small source are shuffled together, so many rows at a time."""
BLOCK_CELLS = 2**20
HALVINGS = 30


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One source's rows, pass after pass, each in an order of its own: every row is drawn before any is drawn again."""

    rows: np.ndarray
    """int64 [rows of the source]."""
    seed: int
    number: int
    """Of the source."""

    def draws(self, start: int, stop: int) -> np.ndarray:
        """The rows at these positions, from 0."""
        if start == stop:
            return np.empty(0, np.int64)
        size = len(self.rows)
        passes = max(1, BLOCK_ROWS // size)
        block = passes * size
        parts = []
        for number in range(start // block, -(-stop // block)):
            generator = np.random.default_rng([self.seed, self.number, number])
            order = generator.permuted(np.tile(self.rows, (passes, 1)), axis=1).reshape(-1)
            parts.append(order[max(start - number * block, 0) : stop - number * block])
        return np.concatenate(parts)


def source_shares(weights: Sequence[float], sizes: Sequence[int], groups: Sequence[int]) -> tuple[float, ...]:
    """The share of each file among the rows that are drawn; () where none has a weight, so that each row is drawn once an epoch.

    Args:
        weights: of the sources that were given, above 0.
        sizes: rows of each file.
        groups: for each file the source that it is of; files of a folder share its weight by their rows. Empty: there is one.

    >>> source_shares([1, 3], [10, 30, 5], [0, 0, 1])
    (0.0625, 0.1875, 0.75)
    """
    if not weights or len(weights) != max(groups, default=-1) + 1:
        return ()
    of_groups = np.bincount(groups, weights=sizes)
    return tuple(
        float(weights[group] * size / of_groups[group] / sum(weights))
        for group, size in zip(groups, sizes, strict=True)
    )


def apportioned(shares: Sequence[float], totals: np.ndarray) -> np.ndarray:
    """How many of the first n draws each source has, for each n of `totals`: int64 [totals, sources], near shares * n.

    Webster's method: the next draw goes to the source with the least (draws so far + 1/2) / share. So what a source has never falls
    as n grows, and its part of any stretch of draws is near its share.

    >>> apportioned([0.5, 0.3, 0.2], np.array([1, 10, 13])).tolist()
    [[1, 0, 0], [5, 3, 2], [6, 4, 3]]
    """
    share = np.asarray(shares, float)
    step = max(1, BLOCK_CELLS // len(share))
    parts = [_apportioned(share, totals[at : at + step]) for at in range(0, len(totals), step)]
    return np.concatenate(parts)


def _apportioned(share: np.ndarray, totals: np.ndarray) -> np.ndarray:
    # a source has all draws whose (number + 1/2) / share is below a bound; the bound is found by halving, for all totals at once
    low, high = totals - len(share) - 1.0, totals + len(share) + 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = _below(share, middle).sum(1) <= totals
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    found = _below(share, low - 1e-6)  # a hair less, so that all ties are told apart below, by one rule
    while len(lacking := np.flatnonzero(found.sum(1) < totals)):
        next_ = np.where(share > 0, (found[lacking] + 0.5) / np.where(share > 0, share, 1), np.inf)
        found[lacking, next_.argmin(1)] += 1
    return found


def _below(share: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return np.maximum(np.floor(share * bounds[:, None] + 0.5), 0).astype(np.int64)


def mixed(
    streams: Sequence[Stream], shares: Sequence[float], start: int, steps: int, batch: int
) -> np.ndarray:
    """Batches that have each source's share of rows, to one row: [steps, batch].

    Args:
        streams: of the sources.
        shares: of the sources; they sum to 1.
        start: rows that were drawn before.
        steps: how many batches.
        batch: rows of one.
    """
    ends = apportioned(shares, start + batch * np.arange(steps + 1))
    found = np.empty((steps, batch), np.int64)
    at = np.zeros(steps, np.int64)
    for stream, end in zip(streams, ends.T, strict=True):
        rows, counts = stream.draws(int(end[0]), int(end[-1])), np.diff(end)
        owners = np.repeat(np.arange(steps), counts)
        within = np.arange(len(rows)) - np.repeat(end[:-1] - end[0], counts)
        found[owners, at[owners] + within] = rows
        at += counts
    return found


def by_source(
    streams: Sequence[Stream], shares: Sequence[float], start: int, steps: int, batch: int
) -> np.ndarray:
    """Batches of one source each, of every source as many as is its share, to one batch: [steps, batch].

    Args: as `mixed`.
    """
    before, after = apportioned(shares, start // batch + np.array([0, steps]))
    parts = [
        stream.draws(int(low) * batch, int(high) * batch).reshape(-1, batch)
        for stream, low, high in zip(streams, before, after, strict=True)
    ]
    return np.concatenate(parts)
