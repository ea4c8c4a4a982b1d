"""V-measure of k-means clusters against labels, by mteb's protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

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

SEED = 42


@dataclass(frozen=True, kw_only=True)
class Clustering(Task):
    """Samples of the documents, each clustered by itself; an interval is over the samples."""

    samples: Sequence[Sequence[int]]
    """Documents of each sample; may repeat."""
    labels: Sequence[Sequence[str]]
    """Label of each document of each sample."""
    num_clusters: Sequence[int]
    """For each sample: as many as the task has labels."""
    batch_size: int = 512
    """Of k-means."""
    n_init: Literal["auto"] | int = 1
    """Starts of k-means."""

    kind: ClassVar[str] = "clustering"
    metric: ClassVar[str] = "v_measure"

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """One k-means a sample and codec; the same starts for all."""
        for spec, vectors in compressed(specs, documents):
            yield spec, vectors if isinstance(vectors, UserError) else self._scored(vectors)

    def measure_raw(self, documents: Documents) -> Statistic:
        """k-means of the vectors as the model gives them."""
        return self._scored(documents.embeddings_MD)

    def _scored(self, vectors_MK: Float[Tensor, "M K"]) -> Mean:
        from sklearn.cluster import (
            MiniBatchKMeans,  # seconds of import, which workers that only train need not wait for
        )
        from sklearn.metrics import v_measure_score

        array = vectors_MK.numpy()
        values = []
        for sample, labels, num in zip(self.samples, self.labels, self.num_clusters, strict=True):
            kmeans = MiniBatchKMeans(num, batch_size=self.batch_size, n_init=self.n_init, random_state=SEED)
            values.append(v_measure_score(labels, kmeans.fit_predict(array[np.asarray(sample)])))
        return Mean(torch.tensor(values, dtype=torch.float64))
