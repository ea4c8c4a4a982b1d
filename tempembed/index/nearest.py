"""Answers from a compressed index: by Hamming distance and re-ranking for bits, by blocks of products for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.codecs.bits import SignBits
from tempembed.index.compressed import Index
from tempembed.index.hamming import hamming_top_k
from tempembed.index.top_k import decoded_top_k, top_k
from tempembed.system.errors import UserError

Found = tuple[Float[Tensor, "Q K"], Int[Tensor, "Q K"]]
"""Scores and rows, best first; of equal scores the higher row first, as everywhere."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A text that answers a query."""

    row: int
    """In the file of texts, from 0."""
    score: float
    """As `Codec.score` has it; of a re-ranked hit the re-ranking's."""
    text: str


def search_index(index: Index, queries: Sequence[str], num: int) -> list[list[Hit]]:
    """The best `num` texts of each query, best first.

    Raises:
        UserError: an empty query, or num < 1.
    """
    if num < 1:
        raise UserError(f"--top-k: expected at least 1, got {num}")
    if not queries or not all(query.strip() for query in queries):
        raise UserError("query: expected text, got none")
    codec = index.exported.codec
    queries_QK = codec.cut(index.exported.embed(queries, "query"))
    scores, rows = (_by_bits if codec.spec.is_bits else _by_products)(index, queries_QK, min(num, len(index)))
    return [
        [Hit(row=row, score=score, text=index.text(row)) for score, row in zip(*answers, strict=True)]
        for answers in zip(scores.tolist(), rows.tolist(), strict=True)
    ]


def _by_bits(index: Index, queries_QK: Tensor, num: int) -> Found:
    spec, bits = index.exported.codec.spec, cast(SignBits, index.exported.codec.numbers)
    depth = max(num, spec.depth) if spec.rerank else num
    distances, rows = hamming_top_k(bits.encode(queries_QK), index.codes_MB, depth)
    if not spec.rerank:
        return spec.width - 2.0 * distances, rows
    rows = rows.sort(dim=1).values  # so that of equal scores top_k has the higher row first
    queries = bits.project(queries_QK) if spec.rerank in ("bits", "unbiased") else queries_QK
    scores = torch.stack([index.vectors(c) @ q for c, q in zip(rows, queries, strict=True)])
    return _best(scores, rows, num)


def _by_products(index: Index, queries_QK: Tensor, num: int) -> Found:
    codec = index.exported.codec
    queries = codec.numbers.query(queries_QK)
    return decoded_top_k(queries, index.codes_MB, codec.numbers.scored, num)


def _best(scores_QC: Tensor, rows_QC: Tensor, num: int) -> Found:
    order = top_k(scores_QC, num)
    return scores_QC.gather(1, order), rows_QC.gather(1, order)
