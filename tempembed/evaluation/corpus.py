"""The test part of pairs as tasks: queries, a corpus of documents, which answers are right, and labels (modules)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from tempembed.data.pairs import Pairs
from tempembed.data.text_ids import same_text
from tempembed.evaluation.clustering import SEED, Clustering
from tempembed.evaluation.own_text import own_texts
from tempembed.evaluation.pairs import PairClassification
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.task import Task
from tempembed.system.errors import UserError

KINDS = ("retrieval", "clustering", "reranking", "pair_classification")
SET_SIZE = 2048  # documents of a clustering
NUM_SETS = 3  # mteb takes 10
NUM_RERANKED = 1000  # queries
NUM_CANDIDATES = 32  # of a query


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Texts and answers; `tasks` are what is measured on them.

    A document that is the query's own text is no candidate of it, unless it is listed as an answer.
    """

    queries: list[str]
    documents: list[str]
    relevant: list[list[int]]
    """For each query, the documents that answer it."""
    labels: list[str | None] = field(default_factory=list)
    """For each document; None: it has none. Empty: there are no labels."""

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
    def load(path: Path) -> "Corpus":
        """Read what `save` wrote."""
        queries, documents, relevant, labels = json.loads(path.read_text())
        return Corpus(queries=queries, documents=documents, relevant=relevant, labels=labels)

    @cached_property
    def own_texts(self) -> list[list[int]]:
        """For each query, the documents that are its own text and no answer; empty if there are none."""
        return own_texts(self.queries, self.documents, self.relevant)

    def tasks(self, kinds: Sequence[str] = KINDS) -> list[Task]:
        """Those of the kinds that the corpus allows; they share their lists of texts.

        All but retrieval need labels: clustering no more of them than a sample has documents, reranking and pair
        classification a wrong document that has the label of a right one.
        """
        makers = {
            "retrieval": self.retrieval, "clustering": self.clustering,
            "reranking": self.reranking, "pair_classification": self.pair_classification,
        }  # fmt: skip
        able = {"retrieval"}
        labelled = [label for label in self.labels if label is not None]
        if 1 < len(set(labelled)) <= min(SET_SIZE, len(labelled)):
            able.add("clustering")
        if self.labels and any(self._same_label(row) for row in range(len(self.queries))):
            able |= {"reranking", "pair_classification"}
        return [makers[kind]() for kind in kinds if kind in able]

    def retrieval(self) -> Retrieval:
        """Search in all documents."""
        return Retrieval(
            name="retrieval", queries=self.queries, documents=self.documents,
            relevant=[dict.fromkeys(r, 1.0) for r in self.relevant],
            excluded=self.own_texts, num_own_texts=sum(map(bool, self.own_texts)),
        )  # fmt: skip

    def clustering(self) -> Clustering:
        """Three samples, with replacement, of 2,048 documents that have a label; mteb 2's protocol and seed."""
        labelled = [i for i, label in enumerate(self.labels) if label is not None]
        rng = Random(SEED)
        size = min(SET_SIZE, len(labelled))
        samples = [rng.choices(labelled, k=size) for _ in range(NUM_SETS)]
        names = [[str(self.labels[i]) for i in sample] for sample in samples]
        num = len({self.labels[i] for i in labelled})
        return Clustering(
            name="clustering", queries=(), documents=self.documents, samples=samples, labels=names,
            num_clusters=[num] * NUM_SETS,
        )  # fmt: skip

    def reranking(self) -> Reranking:
        """The right documents among 32 candidates; the wrong ones have the label of a right one (hard negatives)."""
        rows = self._with_hard_negatives()[:NUM_RERANKED]
        rng = Random(SEED)
        candidates = []
        for row in rows:
            right = self.relevant[row]
            wrong = self._same_label(row)
            num = min(max(1, NUM_CANDIDATES - len(right)), len(wrong))
            candidates.append(sorted([*right, *rng.sample(wrong, num)]))
        return Reranking(
            name="reranking", queries=[self.queries[row] for row in rows], documents=self.documents,
            candidates=candidates, relevant=[self.relevant[row] for row in rows],
            num_own_texts=sum(bool(self.own_texts and self.own_texts[row]) for row in rows),
        )  # fmt: skip

    def pair_classification(self) -> PairClassification:
        """Does the document answer the query? One right document and one of the same label for each query."""
        rng = Random(SEED)
        left, right, positive = [], [], []
        for row in self._with_hard_negatives():
            for document, is_right in (
                (self.relevant[row][0], True),
                (rng.choice(self._same_label(row)), False),
            ):
                left.append(row)
                right.append(document)
                positive.append(is_right)
        return PairClassification(
            name="pair_classification",
            queries=self.queries,
            documents=self.documents,
            left=left,
            right=right,
            positive=positive,
        )

    def _with_hard_negatives(self) -> list[int]:
        return [row for row in range(len(self.queries)) if self._same_label(row)]

    def _same_label(self, row: int) -> list[int]:
        """Wrong documents with the label of the first right one."""
        right = self.relevant[row]
        taken = {*right, *(self.own_texts[row] if self.own_texts else ())}
        return [i for i in self._by_label.get(self.labels[right[0]], ()) if i not in taken]

    @cached_property
    def _by_label(self) -> dict[str | None, list[int]]:
        groups: dict[str | None, list[int]] = {}
        for i, label in enumerate(self.labels):
            if label is not None:
                groups.setdefault(label, []).append(i)
        return groups


def corpus_from_pairs(pairs: Pairs, *, max_queries: int | None = None, seed: int = 0) -> Corpus:
    """Every distinct document, hard negatives included, is the corpus; a query's documents are its answers.

    Args:
        pairs: test pairs; the same text (`same_text`) counts once, as it comes first, so a query may have several right
            documents.
        max_queries: take a random choice of so many queries; the corpus stays whole.
        seed: of that choice.

    Raises:
        UserError: fewer than two documents.
    """
    numbers: dict[str, int] = {}
    documents: list[str] = []
    labels: list[str | None] = []

    def number(text: str) -> int:
        found = numbers.setdefault(same_text(text), len(documents))
        if found == len(documents):
            documents.append(text)
            labels.append(None)
        return found

    right = [number(text) for text in pairs.documents]
    for document, label in zip(right, pairs.labels or [], strict=False):
        labels[document] = label
    for negatives in pairs.hard_negatives or []:
        for text in negatives:
            number(text)
    if len(documents) < 2:
        raise UserError(
            f"{pairs.source}: expected at least 2 distinct documents to search in, got {len(documents)}"
        )
    answers: dict[str, set[int]] = {}
    first: dict[str, str] = {}
    for query, document in zip(pairs.queries, right, strict=True):
        same = same_text(query)
        first.setdefault(same, query)
        answers.setdefault(same, set()).add(document)
    asked = list(first)
    if max_queries and max_queries < len(asked):
        chosen = np.random.default_rng(seed).choice(len(asked), max_queries, replace=False)
        asked = [asked[i] for i in sorted(chosen)]
    clusters = {label for label in labels if label is not None}
    return Corpus(
        queries=[first[same] for same in asked],
        documents=documents,
        relevant=[sorted(answers[same]) for same in asked],
        labels=labels if len(clusters) > 1 else [],
    )
