"""Micro-batches by token budget: texts of like length together, so that little is padded."""

import numpy as np


def length_sorted_chunks(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows in chunks of at most `budget` padded tokens, longest first; a text above the budget stands alone.

    >>> [chunk.tolist() for chunk in length_sorted_chunks(np.array([2, 9, 3, 2]), 6)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    chunks, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        chunks.append(order[start : start + size])
        start += size
    return chunks
