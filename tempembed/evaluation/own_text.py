"""The query's own text among the documents: it says nothing of a search that this is what the query finds first."""

from collections.abc import Collection, Sequence

import numpy as np

from tempembed.data.text_ids import text_ids


def own_texts(
    queries: Sequence[str], documents: Sequence[str], relevant: Sequence[Collection[int]]
) -> list[list[int]]:
    """For each query, the documents that are its own text, but for those that the data lists as right; [] if there are none.

    Which texts are the same, `text_ids` says.
    """
    wanted, ids = text_ids(queries), text_ids(documents)
    order = np.argsort(ids, kind="stable")
    low, high = (np.searchsorted(ids[order], wanted, side) for side in ("left", "right"))
    found: list[list[int]] = [[] for _ in queries]
    for row in np.flatnonzero(low < high).tolist():
        found[row] = [i for i in order[low[row] : high[row]].tolist() if i not in relevant[row]]
    return found if any(found) else []
