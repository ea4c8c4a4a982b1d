"""What is measured: queries, a corpus of documents, which answers are right, and labels to cluster by."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tempembed.data.pairs import Pairs
from tempembed.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """Retrieval of `documents` by `queries`; clustering of the documents that have a label."""

    queries: list[str]
    documents: list[str]
    relevant: list[list[int]]
    """For each query, the documents that answer it."""
    labels: list[str | None] = field(default_factory=list)
    """For each document; None: not part of the clustering. Empty: no clustering."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the content."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:16]

    def _json(self) -> str:
        return json.dumps([self.queries, self.documents, self.relevant, self.labels])

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self._json())

    @staticmethod
    def load(path: Path) -> "EvaluationTask":
        """Read what `save` wrote."""
        queries, documents, relevant, labels = json.loads(path.read_text())
        return EvaluationTask(queries=queries, documents=documents, relevant=relevant, labels=labels)


def task_from_pairs(pairs: Pairs, *, max_queries: int | None = None, seed: int = 0) -> EvaluationTask:
    """Every distinct document, hard negatives included, is the corpus; a query's documents are its answers.

    Args:
        pairs: test pairs; equal texts count once, so a query may have several right documents.
        max_queries: take a random choice of so many queries; the corpus stays whole.
        seed: of that choice.

    Raises:
        UserError: fewer than two documents.
    """
    document_ids: dict[str, int] = {}
    for text in pairs.documents:
        document_ids.setdefault(text, len(document_ids))
    labels: list[str | None] = [None] * len(document_ids)
    for text, label in zip(pairs.documents, pairs.labels or [], strict=False):
        labels[document_ids[text]] = label
    for negatives in pairs.hard_negatives or []:
        for text in negatives:
            if document_ids.setdefault(text, len(document_ids)) == len(labels):
                labels.append(None)
    if len(document_ids) < 2:
        raise UserError(
            f"{pairs.source}: expected at least 2 distinct documents to search in, got {len(document_ids)}"
        )
    relevant: dict[str, list[int]] = {}
    for query, document in zip(pairs.queries, pairs.documents, strict=True):
        relevant.setdefault(query, []).append(document_ids[document])
    queries = list(relevant)
    if max_queries and max_queries < len(queries):
        chosen = np.random.default_rng(seed).choice(len(queries), max_queries, replace=False)
        queries = [queries[i] for i in sorted(chosen)]
    clusters = {label for label in labels if label is not None}
    return EvaluationTask(
        queries=queries,
        documents=list(document_ids),
        relevant=[sorted(set(relevant[query])) for query in queries],
        labels=labels if len(clusters) > 1 else [],
    )
