"""Tasks on pairs of texts: similarity against human scores (STS), and same or not (pair classification)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.statistics import AveragePrecision, Spearman
from tempembed.evaluation.task import Measured, Task
from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from tempembed.evaluation.corpus import Corpus

SEED = 42


@dataclass(frozen=True, kw_only=True)
class _Pairs(Task):
    """Pairs of a query and a document; both sides are compressed, by a codec that is fitted on the documents."""

    left: Sequence[int]
    """Query of each pair."""
    right: Sequence[int]
    """Document of each pair."""

    def cosines(
        self, specs: Sequence[Spec], queries_QD: Float[Tensor, "Q D"], documents: Documents
    ) -> Iterator[tuple[Spec, Tensor | UserError]]:
        """Cosine of each pair under each codec; for bits 1 - 2 (Hamming distance) / K. No search, so no re-ranking."""
        left, right = torch.tensor(self.left), torch.tensor(self.right)
        for same, fitted in documents.fit_all([spec for spec in specs if not spec.rerank]):
            if isinstance(fitted, UserError):
                yield same[0], fitted
                continue
            numbers = fitted.codec.numbers
            queries = fitted.codec.reconstruct(queries_QD)
            # what no pair names need not be quantised
            used, places = right.unique(return_inverse=True)
            vectors = numbers.decode(numbers.encode(fitted.documents_MK[used]))
            yield same[0], torch.nn.functional.cosine_similarity(queries[left], vectors[places], dim=1)


@dataclass(frozen=True, kw_only=True)
class STS(_Pairs):
    """Spearman's rank correlation of cosines with human scores."""

    scores: Sequence[float]
    """The human score of each pair."""

    kind: ClassVar[str] = "sts"
    metric: ClassVar[str] = "cosine_spearman"

    def __post_init__(self) -> None:
        if len(set(self.scores)) < 2:
            raise UserError(
                f"task {self.name}: expected scores that differ, got {len(self.scores)} and all the same: nothing can be "
                "ranked by them"
            )

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """The interval is over the pairs."""
        gold = torch.tensor(self.scores, dtype=torch.float64)
        for spec, cosines in self.cosines(specs, queries_QD, documents):
            yield spec, cosines if isinstance(cosines, UserError) else Spearman(cosines, gold)


@dataclass(frozen=True, kw_only=True)
class PairClassification(_Pairs):
    """Average precision of cosines as a classifier of pairs."""

    positive: Sequence[bool]
    """Whether the two texts of each pair belong together."""

    kind: ClassVar[str] = "pair_classification"
    metric: ClassVar[str] = "cosine_ap"
    metric_title: ClassVar[str] = "average precision"

    @classmethod
    def of_corpus(cls, corpus: "Corpus") -> Self | None:
        """Does the document answer the query? One right document and one of the same label for each query."""
        rng = Random(SEED)
        left, right, positive = [], [], []
        for row in corpus.with_hard_negatives():
            wrong = rng.choice(corpus.hard_negatives(row))
            for document, is_right in ((corpus.relevant[row][0], True), (wrong, False)):
                left.append(row)
                right.append(document)
                positive.append(is_right)
        if not left:
            return None
        return cls(
            name=cls.kind, queries=corpus.queries, documents=corpus.documents, left=left, right=right,
            positive=positive,
        )  # fmt: skip

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """The interval is over the pairs."""
        positive = torch.tensor(self.positive, dtype=torch.bool)
        for spec, cosines in self.cosines(specs, queries_QD, documents):
            yield spec, cosines if isinstance(cosines, UserError) else AveragePrecision(cosines, positive)
