"""V-measure of k-means clusters against labels, by mteb's protocol."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import v_measure_score
from torch import Tensor

from tempembed.compression.sign import sign
from tempembed.compression.width import cut, random_orders
from tempembed.evaluation.retrieval import Key

SET_SIZE = 2048


def clustering_scores(
    documents_MD: Float[Tensor, "M D"],
    labels: Sequence[str | None],
    widths: Sequence[int],
    *,
    num_sets: int = 3,
    seed: int = 42,
) -> dict[Key, Float[Tensor, " S"]]:
    """V-measure on each of `num_sets` samples of 2,048 documents, under each codec.

    mteb 2's protocol (AbsTaskClustering): samples with replacement, MiniBatchKMeans with as many clusters as
    labels, batch 512, k-means++ once, seed 42; all codecs see the same samples. Codecs: `float32`, `random`
    (one draw), `binary` (±1).
    """
    labelled = np.array([i for i, label in enumerate(labels) if label is not None])
    names = np.array([labels[i] for i in labelled])
    rng = np.random.default_rng(seed)
    samples = [rng.integers(len(labelled), size=min(SET_SIZE, len(labelled))) for _ in range(num_sets)]
    num_clusters = len(np.unique(names))
    documents = documents_MD[torch.from_numpy(labelled)]
    shuffled = documents[:, random_orders(widths[-1], 1)[0]]
    scores: dict[Key, Tensor] = {}
    for width in widths:
        codecs = {"float32": cut(documents, width), "binary": sign(documents[:, :width])}
        if width < widths[-1]:
            codecs["random"] = cut(shuffled, width)
        for name, embeddings in codecs.items():
            values = []
            for sample in samples:
                kmeans = MiniBatchKMeans(num_clusters, batch_size=512, n_init=1, random_state=seed)
                assigned = kmeans.fit_predict(embeddings.numpy()[sample])
                values.append(v_measure_score(names[sample], assigned))
            scores[name, width, 0] = torch.tensor(values, dtype=torch.float64)
    return scores
