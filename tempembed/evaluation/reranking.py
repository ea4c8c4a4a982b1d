"""Mean average precision of given candidates, ordered by a codec's score (mteb's map_at_1000)."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.statistics import Mean
from tempembed.evaluation.task import Measured, Task
from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from tempembed.evaluation.corpus import Corpus

CUTOFF = 1000
NUM_QUERIES = 1000
"""Queries of our own corpora."""
NUM_CANDIDATES = 32
"""Candidates of a query of our own corpora."""
SEED = 42
PAIRS = 2**14  # (query, candidate) pairs at a time: 128 MB at 1024 coordinates


@dataclass(frozen=True, kw_only=True)
class Reranking(Task):
    """Queries, and for each its candidates among the documents, right ones and hard wrong ones."""

    candidates: Sequence[Sequence[int]]
    """For each query, documents, without repeats."""
    relevant: Sequence[Sequence[int]]
    """For each query, its right documents; one that is no candidate counts as not found."""

    kind: ClassVar[str] = "reranking"
    metric: ClassVar[str] = "map_at_1000"
    metric_title: ClassVar[str] = "MAP"

    @classmethod
    def of_corpus(cls, corpus: "Corpus") -> Self | None:
        """The right documents among 32 candidates; the wrong ones have the label of a right one (hard negatives)."""
        rows = corpus.with_hard_negatives()[:NUM_QUERIES]
        if not rows:
            return None
        rng = Random(SEED)
        candidates = []
        for row in rows:
            right, wrong = corpus.relevant[row], corpus.hard_negatives(row)
            num = min(max(1, NUM_CANDIDATES - len(right)), len(wrong))
            candidates.append(sorted([*right, *rng.sample(wrong, num)]))
        return cls(
            name=cls.kind, queries=[corpus.queries[row] for row in rows], documents=corpus.documents,
            candidates=candidates, relevant=[corpus.relevant[row] for row in rows],
            num_own_texts=sum(bool(corpus.own_texts and corpus.own_texts[row]) for row in rows),
        )  # fmt: skip

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """Codecs that re-rank a search have no meaning here and are left out."""
        rows = np.repeat(np.arange(len(self.candidates)), [len(c) for c in self.candidates])
        chosen = np.concatenate([np.asarray(c, dtype=np.int64) for c in self.candidates])
        right = [set(r) for r in self.relevant]
        is_right = np.array([d in right[row] for row, d in zip(rows, chosen, strict=True)])
        num_right = np.array([len(r) for r in right])
        row_ids, document_ids = torch.from_numpy(rows), torch.from_numpy(chosen)
        for same, fitted in documents.fit_all([s for s in specs if not s.rerank]):
            if isinstance(fitted, UserError):
                yield same[0], fitted
                continue
            numbers = fitted.codec.numbers
            queries = numbers.query(fitted.codec.cut(queries_QD))
            vectors = numbers.scored(numbers.encode(fitted.documents_MK))
            scores = torch.cat(
                [
                    (queries[row_ids[i : i + PAIRS]] * vectors[document_ids[i : i + PAIRS]]).sum(1)
                    for i in range(0, len(rows), PAIRS)
                ]
            ).numpy()
            yield same[0], Mean(average_precision(rows, chosen, scores, is_right, num_right))


def average_precision(
    rows: np.ndarray, documents: np.ndarray, scores: np.ndarray, is_right: np.ndarray, num_right: np.ndarray
) -> Float[Tensor, " Q"]:
    """Average precision of each query: the mean precision at the ranks of its right documents; equal scores by descending id.

    Args:
        rows: query of each (query, candidate) pair, ascending.
        documents: candidate of each pair.
        scores: of each pair.
        is_right: whether the candidate is right.
        num_right: right documents of each query.
    """
    order = np.lexsort((-documents, -scores, rows))
    starts = np.searchsorted(rows, np.arange(len(num_right)))
    ranks = np.arange(len(rows)) - starts[rows] + 1
    hits = is_right[order] & (ranks <= CUTOFF)
    total = np.cumsum(hits)
    before = np.concatenate([[0], total])[starts]
    precision = np.where(hits, (total - before[rows]) / ranks, 0.0)
    summed = np.bincount(rows, weights=precision, minlength=len(num_right))
    return torch.from_numpy(summed / np.maximum(num_right, 1))
