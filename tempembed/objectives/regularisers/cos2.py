"""Spread-out: unlike embeddings are orthogonal, as random directions nearly are."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import at_least_float32


def cos2(batch: EmbeddedBatch) -> Float[Tensor, ""]:
    """Mean squared cosine over pairs of unlike rows, the mean of both sides; 0 to 1, 1/D where directions are uniform.

    From the D x D moments, so memory does not grow with the batch. Source: Zhang et al. 2017 (arXiv:1708.06320), the second moment.
    """
    return (_mean_square(batch.queries_GD) + _mean_square(batch.documents_GD)) / 2


def _mean_square(embeddings_GD: Tensor) -> Tensor:
    unit_GD = torch.nn.functional.normalize(at_least_float32(embeddings_GD), dim=-1)
    num = len(unit_GD)
    with_themselves = unit_GD.square().sum(1).square().sum()
    return ((unit_GD.T @ unit_GD).square().sum() - with_themselves) / max(1, num * (num - 1))
