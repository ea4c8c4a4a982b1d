"""Exact search on compressed embeddings, all widths in one pass over the coordinates."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def nested_similarity(
    queries_QD: Float[Tensor, "Q D"], documents_MD: Float[Tensor, "M D"], widths: Sequence[int]
) -> Iterator[tuple[int, Float[Tensor, "Q M"]]]:
    """Inner products of the prefixes, narrowest first: each width adds its new coordinates to the last.

    So all widths cost one full-width product. The matrix that is handed out is overwritten in the next turn.
    """
    products_QM = torch.zeros(len(queries_QD), len(documents_MD))
    start = 0
    for width in widths:
        products_QM.addmm_(queries_QD[:, start:width], documents_MD[:, start:width].T)
        start = width
        yield width, products_QM


def top_k(scores_QM: Float[Tensor, "Q M"], k: int) -> Int[Tensor, "Q K"]:
    """The k best documents of each row, best first; of equal scores the higher number first, as trec_eval has it.

    (trec_eval sorts equal scores by descending document id.) k is cut to the number of documents.
    """
    k = min(k, scores_QM.shape[1])
    probe = min(k + 1, scores_QM.shape[1])
    values, ids = scores_QM.topk(probe, dim=1)
    # order what was found by (score, id), both descending: two stable sorts, the lesser key first
    by_id = ids.argsort(dim=1, descending=True)
    ids, values = ids.gather(1, by_id), values.gather(1, by_id)
    by_value = values.argsort(dim=1, descending=True, stable=True)
    ids, values = ids.gather(1, by_value), values.gather(1, by_value)
    if probe > k:  # where the tie crosses the border, topk chose among equals at will
        for row in (values[:, k - 1] == values[:, k]).nonzero().flatten().tolist():
            candidates = (scores_QM[row] >= values[row, k - 1]).nonzero().flatten().flip(0)
            best = scores_QM[row][candidates].argsort(descending=True, stable=True)[:k]
            ids[row, :k] = candidates[best]
    return ids[:, :k]
