"""Exact search on compressed embeddings: the best k of a product, in blocks, nested prefixes in one pass, re-ranking."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.codecs.bits import SignBits
from tempembed.codecs.integers import Int8
from tempembed.codecs.spec import Rerank

RERANK_FLOATS = 2**24
"""Coordinates of candidates that are unpacked at a time: 64 MB."""
BLOCK_FLOATS = 2**24
"""Coordinates of documents that are decoded at a time, and scores that are kept of them: 64 MB each."""


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


def top_k(scores_QM: Float[Tensor, "Q M"], k: int) -> Int[Tensor, "Q k"]:
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


def decoded_top_k(
    queries_QK: Float[Tensor, "Q K"],
    codes_MB: Tensor,
    decode: Callable[[Tensor], Float[Tensor, "M K"]],
    k: int,
) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
    """Inner products and numbers of the k best documents of each query, best first, as `top_k` orders them.

    Documents are decoded a block at a time, so memory does not depend on M: 128 MB and 12 k bytes a query.
    """
    k, width = min(k, len(codes_MB)), queries_QK.shape[1]
    size = max(k, BLOCK_FLOATS // max(width, 512))
    rows = max(1, BLOCK_FLOATS // size)

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(codes_MB), size):
            vectors = decode(codes_MB[start : start + size])
            found = []
            for some in queries_QK.split(rows):
                products = some @ vectors.T
                there = top_k(products, k)
                found.append((products.gather(1, there), there + start))
            yield torch.cat([v for v, _ in found]), torch.cat([i for _, i in found])

    return merged_top_k(blocks(), k)


def merged_top_k(
    parts: Iterable[tuple[Float[Tensor, "Q n"], Int[Tensor, "Q n"]]], k: int
) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
    """The k best of what was found in several parts of the documents, as `top_k` orders them; two parts are held at a time.

    Args:
        parts: scores and numbers of documents, at least one part.
        k: cut to how many there are.
    """
    best = ids = torch.empty(0, 0)
    for number, (scores, numbers) in enumerate(parts):
        if number:
            scores, numbers = torch.cat([best, scores], dim=1), torch.cat([ids, numbers], dim=1)
        # in the order of their numbers, so that of equal scores top_k has the higher one first
        ids, order = numbers.sort(dim=1)
        best = scores.gather(1, order)
        kept = top_k(best, k)
        best, ids = best.gather(1, kept), ids.gather(1, kept)
    return best, ids


class Reranker:
    """Orders the candidates of a Hamming search anew, each by one inner product.

    `bits`: float query x ±1 document, nothing more is stored (the paper, Table 2; docs/design/paper.md 1.4). `unbiased`: the same
    divided by the document's L1 norm, an unbiased estimate of the float product for random directions (RaBitQ, Gao &
    Long 2024; docs/design/paper.md section 5), at 2 bytes a document for the norm in float16. `int8`: float query x int8 document.
    `float`: both float32, the most that the candidates allow.
    """

    def __init__(self, how: Rerank, bits: SignBits, documents_MK: Float[Tensor, "M K"]) -> None:
        """Encode documents, cut and re-normalised, as the way of re-ranking stores them."""
        self._how, self._bits = how, bits
        self._documents = documents_MK
        if how in ("bits", "unbiased"):
            self._documents = bits.encode(documents_MK)
        if how == "unbiased":
            norms = bits.project(documents_MK).abs().sum(1).half().float()
            self._inverse = norms.clamp_min(torch.finfo(torch.float16).tiny).reciprocal()
        if how == "int8":
            self._integers = Int8(documents_MK.shape[1])
            self._integers.fit(documents_MK)
            self._documents = self._integers.encode(documents_MK)

    def __call__(
        self, queries_QK: Float[Tensor, "Q K"], candidates_QC: Int[Tensor, "Q C"]
    ) -> Int[Tensor, "Q C"]:
        """The candidates of each query, best first; of equal scores the higher number first."""
        # trec_eval's order of equals: sort by number first, then top_k keeps the higher one ahead
        candidates_QC = candidates_QC.sort(dim=1).values
        queries = self._bits.project(queries_QK) if self._how in ("bits", "unbiased") else queries_QK
        parts = []
        rows = max(1, RERANK_FLOATS // max(1, candidates_QC.shape[1] * queries_QK.shape[1]))
        for start in range(0, len(queries), rows):
            candidates = candidates_QC[start : start + rows]
            scores = torch.einsum("qk,qck->qc", queries[start : start + rows], self._vectors(candidates))
            if self._how == "unbiased":
                scores *= self._inverse[candidates]
            parts.append(candidates.gather(1, top_k(scores, scores.shape[1])))
        return torch.cat(parts) if parts else candidates_QC

    def _vectors(self, candidates_QC: Tensor) -> Tensor:
        codes = self._documents[candidates_QC.flatten()]
        if self._how in ("bits", "unbiased"):
            codes = self._bits.decode(codes)
        elif self._how == "int8":
            codes = self._integers.decode(codes)
        return codes.unflatten(0, candidates_QC.shape)
