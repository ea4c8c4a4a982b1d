"""V-measure of k-means clusters against labels, by mteb's protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar, Literal, Self

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

if TYPE_CHECKING:
    from tempembed.evaluation.corpus import Corpus

SEED = 42
"""mteb 2's."""
SAMPLE_SIZE = 2048
"""Documents of a sample of our own corpora."""
NUM_SAMPLES = 3
"""Samples of our own corpora; mteb takes 10."""


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
    """Documents in a batch of k-means."""
    n_init: Literal["auto"] | int = 1
    """Starts of k-means."""

    kind: ClassVar[str] = "clustering"
    metric: ClassVar[str] = "v_measure"
    metric_title: ClassVar[str] = "V-measure"
    fits_models: ClassVar[bool] = True
    in_runs: ClassVar[bool] = True

    @classmethod
    def of_corpus(cls, corpus: "Corpus") -> Self | None:
        """Three samples, with replacement, of 2,048 documents that have a label; no more labels than a sample has documents."""
        labelled = [i for i, label in enumerate(corpus.labels) if label is not None]
        num_labels, size = len({corpus.labels[i] for i in labelled}), min(SAMPLE_SIZE, len(labelled))
        if not 1 < num_labels <= size:
            return None
        rng = Random(SEED)
        samples = [rng.choices(labelled, k=size) for _ in range(NUM_SAMPLES)]
        return cls(
            name=cls.kind, queries=(), documents=corpus.documents, samples=samples,
            labels=[[str(corpus.labels[i]) for i in sample] for sample in samples],
            num_clusters=[num_labels] * NUM_SAMPLES,
        )  # fmt: skip

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

    def document_labels(self) -> Sequence[str | None]:
        """The labels of the first sample; documents outside it have none."""
        names = dict(zip(self.samples[0], self.labels[0], strict=True))
        return [names.get(row) for row in range(len(self.documents))]

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
