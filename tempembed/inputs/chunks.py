"""Micro-batches by token budget: texts of like length together, so that little is padded."""

import numpy as np


def length_sorted_chunks(lengths: np.ndarray, budget: int, *, padded: bool = True) -> list[np.ndarray]:
    """Rows in chunks of at most `budget` tokens, longest first; a text above the budget stands alone.

    >>> [chunk.tolist() for chunk in length_sorted_chunks(np.array([2, 9, 3, 2]), 6)]
    [[1], [2, 0], [3]]

    Args:
        lengths: of the texts.
        budget: most tokens of a chunk.
        padded: whether padding counts. Without it chunks are of like size: as few as can be, and cut where equal shares end.
    """
    order = np.argsort(-lengths, kind="stable")
    if not padded:
        return _equal_shares(order, lengths[order], budget)
    chunks, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        chunks.append(order[start : start + size])
        start += size
    return chunks


def _equal_shares(order: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """`order` in parts of at most `budget` tokens, none much smaller than another."""
    after = np.cumsum(lengths)
    chunks, start = [], 0
    while start < len(order):
        done = after[start] - lengths[start]
        left = after[-1] - done
        share = left / max(1, -(-left // budget))
        end = max(start + 1, int(np.searchsorted(after, done + share, side="right")))
        chunks.append(order[start:end])
        start = end
    return chunks
