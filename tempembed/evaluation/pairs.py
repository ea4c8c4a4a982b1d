"""Tasks on pairs of texts: similarity against human scores (STS), and same or not (pair classification)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.compression.spec import Spec
from tempembed.errors import UserError
from tempembed.evaluation.compressed import compressed
from tempembed.evaluation.statistics import AveragePrecision, Spearman
from tempembed.evaluation.task import Measured, Task


@dataclass(frozen=True, kw_only=True)
class _Pairs(Task):
    """Pairs of documents; both sides are compressed."""

    left: Sequence[int]
    """First document of each pair."""
    right: Sequence[int]
    """Second document of each pair."""

    def cosines(
        self, specs: Sequence[Spec], documents_MD: Float[Tensor, "M D"]
    ) -> Iterator[tuple[Spec, Tensor | UserError]]:
        """Cosine of each pair under each codec; for bits 1 - 2 (Hamming distance) / K."""
        left, right = torch.tensor(self.left), torch.tensor(self.right)
        for spec, vectors in compressed(specs, documents_MD):
            if isinstance(vectors, UserError):
                yield spec, vectors
            else:
                yield spec, torch.nn.functional.cosine_similarity(vectors[left], vectors[right], dim=1)


@dataclass(frozen=True, kw_only=True)
class STS(_Pairs):
    """Spearman's rank correlation of cosines with human scores."""

    scores: Sequence[float]
    """Of each pair."""

    kind: ClassVar[str] = "sts"
    metric: ClassVar[str] = "cosine_spearman"

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents_MD: Float[Tensor, "M D"],
        specs: Sequence[Spec],
    ) -> Measured:
        """The interval is over the pairs."""
        gold = torch.tensor(self.scores, dtype=torch.float64)
        for spec, cosines in self.cosines(specs, documents_MD):
            yield spec, cosines if isinstance(cosines, UserError) else Spearman(cosines, gold)


@dataclass(frozen=True, kw_only=True)
class PairClassification(_Pairs):
    """Average precision of cosines as a classifier of pairs."""

    positive: Sequence[bool]
    """Whether the two texts of each pair belong together."""

    kind: ClassVar[str] = "pair_classification"
    metric: ClassVar[str] = "cosine_ap"

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents_MD: Float[Tensor, "M D"],
        specs: Sequence[Spec],
    ) -> Measured:
        """The interval is over the pairs."""
        positive = torch.tensor(self.positive, dtype=torch.bool)
        for spec, cosines in self.cosines(specs, documents_MD):
            yield spec, cosines if isinstance(cosines, UserError) else AveragePrecision(cosines, positive)
