"""Accuracy of a logistic regression on a few labelled texts, by mteb's protocol."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.compressed import compressed
from tempembed.evaluation.statistics import Mean, Statistic
from tempembed.evaluation.task import Measured, Task
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Documents with labels: some to learn from, in several draws, the others to be classified."""

    labels: Sequence[str]
    """The label of each document."""
    experiments: Sequence[Sequence[int]]
    """Documents that each experiment learns from."""
    test: Sequence[int]
    """Documents that are classified."""

    kind: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"
    fits_models: ClassVar[bool] = True

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """Codecs are fitted on what the experiments learn from. The interval is over the experiments."""
        learned_from = sorted({row for rows in self.experiments for row in rows})
        for spec, vectors in compressed(specs, documents, fit_on=learned_from):
            yield spec, vectors if isinstance(vectors, UserError) else self._scored(vectors)

    def measure_raw(self, documents: Documents) -> Statistic:
        """Regressions on the vectors as the model gives them."""
        return self._scored(documents.embeddings_MD)

    def document_labels(self) -> Sequence[str | None]:
        """The labels of all documents."""
        return self.labels

    def _scored(self, vectors_MK: Float[Tensor, "M K"]) -> Mean:
        from sklearn.exceptions import ConvergenceWarning  # as in clustering.py
        from sklearn.linear_model import LogisticRegression

        array, labels = vectors_MK.numpy(), np.asarray(self.labels)
        accuracies = []
        for rows in map(np.asarray, self.experiments):
            with warnings.catch_warnings():  # mteb's 100 iterations, converged or not
                warnings.simplefilter("ignore", ConvergenceWarning)
                model = LogisticRegression(max_iter=100).fit(array[rows], labels[rows])
            accuracies.append(float((model.predict(array[self.test]) == labels[self.test]).mean()))
        return Mean(torch.tensor(accuracies, dtype=torch.float64))
