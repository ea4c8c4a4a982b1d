"""nDCG@10 of every codec of the paper, from embeddings that were made once."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempembed.compression.search import nested_similarity, top_k
from tempembed.compression.sign import sign
from tempembed.compression.width import random_orders

CUTOFF = 10
RERANK_DEPTH = 100  # the paper, Table 2
BLOCK = 512  # queries at a time: memory is BLOCK x documents

Key = tuple[str, int, int]
"""(codec, width, draw)."""


def ndcg_at_10(hits_QK: Bool[Tensor, "Q K"], num_relevant_Q: Float[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """`DCG / IDCG`, `DCG = sum over right answers at rank r <= 10 of 1 / log2(r + 1)`, as trec_eval's ndcg_cut_10.

    Args:
        hits_QK: whether the document at each rank is relevant, K <= 10.
        num_relevant_Q: how many relevant documents each query has.
    """
    gains = 1 / torch.log2(torch.arange(2, CUTOFF + 2, dtype=torch.float64))
    ideal = torch.cat([torch.zeros(1, dtype=torch.float64), gains.cumsum(0)])
    best = ideal[num_relevant_Q.long().clamp(max=CUTOFF)]
    return (hits_QK.double() @ gains[: hits_QK.shape[1]]) / best


def retrieval_scores(
    queries_QD: Float[Tensor, "Q D"],
    documents_MD: Float[Tensor, "M D"],
    relevant: Sequence[Sequence[int]],
    widths: Sequence[int],
    draws: int,
) -> dict[Key, Float[Tensor, " Q"]]:
    """nDCG@10 of each query under each codec.

    Codecs: `float32` (prefix, re-normalised, cosine), `random` (random choice of coordinates, for each draw),
    `binary` (sign of a prefix, Hamming), `binary_rerank` (the best 100 by Hamming, ordered by float query x
    ±1 document).

    Args:
        queries_QD: float32, not normalised.
        documents_MD: float32, not normalised.
        relevant: the right documents of each query.
        widths: ascending, the last is D.
        draws: how many random choices of coordinates.
    """
    scores: dict[Key, list[Tensor]] = {}
    num_relevant = torch.tensor([len(r) for r in relevant], dtype=torch.float32)
    codecs = _prepare(queries_QD, documents_MD, widths, draws)
    for start in range(0, len(queries_QD), BLOCK):
        stop = min(start + BLOCK, len(queries_QD))
        right = torch.zeros(stop - start, len(documents_MD), dtype=torch.bool)
        for row, documents in enumerate(relevant[start:stop]):
            right[row, list(documents)] = True
        for key, ids in _rankings(codecs, slice(start, stop), widths):
            hits = right.gather(1, ids)
            scores.setdefault(key, []).append(ndcg_at_10(hits, num_relevant[start:stop]))
    return {key: torch.cat(parts) for key, parts in scores.items()}


def _prepare(
    queries_QD: Tensor, documents_MD: Tensor, widths: Sequence[int], draws: int
) -> list[tuple[str, int, Tensor, Tensor, list[Tensor]]]:
    """(codec, draw, queries, documents, inverse norms of the documents at each width)."""
    orders = [("float32", 0, torch.arange(widths[-1]))]
    orders += [("random", d, order) for d, order in enumerate(random_orders(widths[-1], draws))]
    prepared = []
    for name, draw, order in orders:
        documents = documents_MD[:, order]
        norms = [1 / documents[:, :w].norm(dim=1).clamp_min(1e-12) for w in widths]
        prepared.append((name, draw, queries_QD[:, order], documents, norms))
    return prepared


def _rankings(
    codecs: list[tuple[str, int, Tensor, Tensor, list[Tensor]]], block: slice, widths: Sequence[int]
) -> Iterator[tuple[Key, Tensor]]:
    for name, draw, queries, documents, norms in codecs:
        for (width, products), inverse in zip(
            nested_similarity(queries[block], documents, widths), norms, strict=True
        ):
            if name == "random" and width == widths[-1]:
                continue  # all coordinates: that is float32
            yield (name, width, draw), top_k(products * inverse, CUTOFF)
    _, _, queries, documents, _ = codecs[0]
    bits = sign(documents)
    hamming = nested_similarity(sign(queries[block]), bits, widths)
    asymmetric = nested_similarity(queries[block], bits, widths)
    for (width, coarse), (_, fine) in zip(hamming, asymmetric, strict=True):
        candidates = top_k(coarse, RERANK_DEPTH)
        yield ("binary", width, 0), candidates[:, :CUTOFF]
        # equal scores: keep trec_eval's order, so sort the candidates by id before ranking them
        candidates = candidates.sort(dim=1).values
        best = top_k(fine.gather(1, candidates), CUTOFF)
        yield ("binary_rerank", width, 0), candidates.gather(1, best)
