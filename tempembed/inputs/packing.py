"""Documents in sequences of one length: cut into pieces, and pieces put side by side so that little is left free."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

GAP = 8
"""Free positions of a sequence that are worth a cut through a piece, so that a part of it fits."""
ROUNDS = 4
"""Times that gaps are filled."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Which pieces of which documents a sequence holds. Pieces stand sequence by sequence; the rest of one is free."""

    length: int
    """Positions of a sequence."""
    documents: np.ndarray
    """int64, for each piece its document."""
    starts: np.ndarray
    """int64, for each piece its first token in the document."""
    lengths: np.ndarray
    """int64, for each piece its tokens, without special ones."""
    ends: np.ndarray
    """int64, one more than there are sequences: sequence i has the pieces `ends[i]` to `ends[i + 1]`."""
    special: int
    """Special tokens that stand around each piece."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    @cached_property
    def text_share(self) -> float:
        """Share of the positions that are text, special tokens counted."""
        return float(self.num_positions / max(1, len(self) * self.length))

    @property
    def num_positions(self) -> int:
        """Positions of all sequences that are not free."""
        return int(self.lengths.sum() + self.special * len(self.lengths))

    def pieces(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of these sequences, one after the other, and how many each has."""
        counts = self.ends[sequences + 1] - self.ends[sequences]
        offsets = np.append(0, np.cumsum(counts))
        return np.repeat(self.ends[sequences] - offsets[:-1], counts) + np.arange(offsets[-1]), counts


def pack(
    lengths: np.ndarray, length: int, *, special: int = 0, documents: np.ndarray | None = None
) -> Packing:
    """Pack documents into sequences; a pure function of its arguments.

    A document that does not fit into one sequence is cut after as many tokens as do. Pieces are put in from the longest, each into
    the sequence with least room that takes it (best fit decreasing; Ding et al. 2024, arXiv:2404.10830). What then stands in the
    emptiest sequences is cut into the gaps of the others, where they have at least `GAP` positions.

    Args:
        lengths: tokens of each document, without special ones; one without tokens is in no sequence.
        length: positions of a sequence.
        special: special tokens around each piece.
        documents: number of each; default from 0.
    """
    most = length - special
    each, starts = cut(lengths, most)
    sizes = np.minimum(most, lengths[each] - starts)
    bins, num = best_fit(sizes + special, length)
    for _ in range(ROUNDS):
        each, starts, sizes, bins = _fill(each, starts, sizes, bins, num, length, special)
        num = int(bins.max(initial=-1)) + 1
    order = np.argsort(bins, kind="stable")
    counts = np.bincount(bins, minlength=1)
    counts = counts[counts > 0]
    return Packing(
        length=length, documents=(each if documents is None else documents[each])[order], starts=starts[order],
        lengths=sizes[order], ends=np.append(0, np.cumsum(counts)), special=special,
    )  # fmt: skip


def cut(lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of at most `most`: of which each is, and where it starts in it.

    >>> [part.tolist() for part in cut(np.array([5, 0, 2]), 2)]
    [[0, 0, 0, 2], [0, 2, 4, 0]]
    """
    counts = -(-lengths // most)
    each = np.repeat(np.arange(len(lengths)), counts)
    before = np.cumsum(counts) - counts
    return each, (np.arange(len(each)) - before[each]) * most


def best_fit(sizes: np.ndarray, room: int) -> tuple[np.ndarray, int]:
    """The bin of each item, and how many bins there are: from the largest item, each into the fullest bin that takes it.

    Items of one size are put in together, so it takes as many steps as there are pairs of a size and a free room.

    >>> best_fit(np.array([3, 5, 2, 4]), 7)[0].tolist()
    [1, 0, 0, 1]
    """
    order = np.argsort(-sizes.astype(np.int32), kind="stable")
    counts = np.bincount(sizes, minlength=room + 1)
    open_bins: dict[int, list[np.ndarray]] = {}
    is_there = np.zeros(room + 1, bool)  # rooms that a bin has
    found, num, done = np.empty(len(sizes), np.int64), 0, 0

    def keep(bins: np.ndarray, free: int) -> None:
        if free and len(bins):
            open_bins.setdefault(free, []).append(bins)
            is_there[free] = True

    for size in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[size])
        for free in [*(np.flatnonzero(is_there[size:]) + size).tolist(), 0]:
            if not left:
                break
            each = (free or room) // size
            needed = -(-left // each)
            if free:
                bins = np.concatenate(open_bins.pop(free))
                is_there[free] = False
                keep(bins[needed:], free)
                bins = bins[:needed]
            else:  # new ones
                bins = np.arange(num, num + needed)
                num += needed
            took = min(left, each * len(bins))
            found[order[done : done + took]] = np.repeat(bins, each)[:took]
            done, left = done + took, left - took
            in_last = took - each * (len(bins) - 1)
            keep(bins[:-1], (free or room) - each * size)
            keep(bins[-1:], (free or room) - in_last * size)
    return found, num


def _fill(
    each: np.ndarray, starts: np.ndarray, sizes: np.ndarray, bins: np.ndarray, num: int, length: int, special: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Empty the emptiest bins into the gaps of the others."""
    free = length - np.bincount(bins, sizes + special, minlength=num).astype(np.int64)
    by_room = np.argsort(-free, kind="stable")
    text = np.bincount(bins, sizes, minlength=num).astype(np.int64)[by_room]
    gaps = np.where(free[by_room] >= GAP + special, free[by_room] - special, 0)
    # as many of the emptiest as the gaps of those behind them take
    emptied = int(np.searchsorted(np.cumsum(text) - (gaps.sum() - np.cumsum(gaps)), 1, side="left"))
    doomed = np.zeros(num, bool)
    doomed[by_room[:emptied]] = True
    moved = np.flatnonzero(doomed[bins])
    if not len(moved):
        return each, starts, sizes, bins
    # the tokens of the moved pieces one after the other, the gaps one after the other: a part ends where either does
    targets = by_room[emptied:][gaps[emptied:] > 0]
    ends_of_gaps, ends_of_pieces = np.cumsum(gaps[emptied:][gaps[emptied:] > 0]), np.cumsum(sizes[moved])
    total = int(ends_of_pieces[-1])
    ends = np.union1d(ends_of_gaps[ends_of_gaps < total], ends_of_pieces)
    begins = np.append(0, ends[:-1])
    piece = np.searchsorted(ends_of_pieces, begins, side="right")
    gap = np.searchsorted(ends_of_gaps, begins, side="right")
    into = starts[moved][piece] + begins - (ends_of_pieces - sizes[moved])[piece]
    # several parts in one gap have special tokens each: what that takes too much is left in a sequence of its own
    parts = (each[moved][piece], into, ends - begins, targets[gap])
    stay = np.flatnonzero(~doomed[bins])
    each, starts, sizes, bins = (
        np.concatenate([old[stay], new]) for old, new in zip((each, starts, sizes, bins), parts, strict=True)
    )
    return each, starts, sizes, _without_overfull(sizes, bins, num, length, special)


def _without_overfull(sizes: np.ndarray, bins: np.ndarray, num: int, length: int, special: int) -> np.ndarray:
    """Pieces that came last into a bin that is too full are packed anew, with each other."""
    order = np.argsort(bins, kind="stable")
    filled = np.cumsum((sizes + special)[order])
    first = np.searchsorted(bins[order], np.arange(num))
    before = np.append(0, filled)[first][bins[order]]
    over = order[filled - before > length]
    again, _ = best_fit(sizes[over] + special, length)
    bins = bins.copy()
    bins[over] = num + again
    return bins
