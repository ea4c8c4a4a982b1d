"""The test part of pairs: queries, a corpus of documents, which answers are right, and labels; what tasks are made of."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tempembed.data.pairs import Pairs
from tempembed.data.text_ids import same_text
from tempembed.evaluation.kinds import task_kinds
from tempembed.evaluation.own_text import own_texts
from tempembed.evaluation.task import Task
from tempembed.system.errors import UserError


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
    sources: list[int] = field(default_factory=list)
    """For each query, the number of the source that it is from; empty where all are of one."""
    source_names: list[str] = field(default_factory=list)
    """What these numbers are called."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the content."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:16]

    def _json(self) -> str:
        return json.dumps([self.queries, self.documents, self.relevant, self.labels])

    def save(self, path: Path) -> None:
        """Write as JSON."""
        of_several = [self.sources, self.source_names] if self.source_names else []
        path.write_text(json.dumps([self.queries, self.documents, self.relevant, self.labels, *of_several]))

    @staticmethod
    def load(path: Path) -> "Corpus":
        """Read what `save` wrote."""
        queries, documents, relevant, labels, *more = json.loads(path.read_text())
        sources, source_names = more or ([], [])
        return Corpus(
            queries=queries, documents=documents, relevant=relevant, labels=labels, sources=sources, source_names=source_names
        )  # fmt: skip

    @cached_property
    def own_texts(self) -> list[list[int]]:
        """For each query, the documents that are its own text and no answer; empty if there are none."""
        return own_texts(self.queries, self.documents, self.relevant)

    def tasks(self, kinds: Iterable[str] | None = None) -> list[Task]:
        """The tasks that the corpus allows, of all kinds or of those that are named; they share their lists of texts."""
        known = task_kinds()
        found = [known[kind].of_corpus(self) for kind in (known if kinds is None else kinds)]
        return [task for task in found if task is not None]

    def with_hard_negatives(self) -> list[int]:
        """Queries that have wrong documents with the label of the first right one."""
        return [row for row in range(len(self.queries)) if self.hard_negatives(row)] if self.labels else []

    def hard_negatives(self, row: int) -> list[int]:
        """Wrong documents of a query with the label of the first right one."""
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
    sources, of_query = pairs.sources, dict[str, int]()
    for row, (query, document) in enumerate(zip(pairs.queries, right, strict=True)):
        same = same_text(query)
        first.setdefault(same, query)
        if sources is not None:
            of_query.setdefault(same, int(sources[row]))
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
        sources=[of_query[same] for same in asked] if of_query else [],
        source_names=pairs.source_names,
    )
