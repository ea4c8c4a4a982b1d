"""Do cosines rate machine summaries as people do? By mteb's corrected protocol (mteb#1156)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.basis import normalized
from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.compressed import compressed
from tempembed.evaluation.statistics import Mean
from tempembed.evaluation.task import Measured, Task
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Summarization(Task):
    """For each text machine summaries with human ratings, and human summaries; all are documents."""

    machine: Sequence[Sequence[int]]
    """Machine summaries of each text."""
    human: Sequence[Sequence[int]]
    """Human summaries of each text."""
    ratings: Sequence[Sequence[float]]
    """Human ratings of the machine summaries."""

    kind: ClassVar[str] = "summarization"
    metric: ClassVar[str] = "cosine_spearman"

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """Mean over texts of Spearman's correlation of ratings with the largest cosine to a human summary.

        A text whose ratings are all equal counts for no codec; one whose cosines are all equal counts as 0.
        """
        from scipy.stats import spearmanr  # as in clustering.py

        for spec, vectors in compressed(specs, documents):
            if isinstance(vectors, UserError):
                yield spec, vectors
                continue
            units = normalized(vectors)
            found = []
            for machine, human, ratings in zip(self.machine, self.human, self.ratings, strict=True):
                if len(set(ratings)) > 1:
                    cosines = (units[list(machine)] @ units[list(human)].T).amax(1)
                    constant = len(cosines.unique()) == 1
                    found.append(0.0 if constant else float(spearmanr(ratings, cosines).statistic))
            yield spec, Mean(torch.tensor(found, dtype=torch.float64))
