"""Decorrelation: no coordinate tells what another does."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import at_least_float32

LEAST = 1e-8
"""Added to variances: a coordinate that does not vary has no correlation."""


def decorrelation(batch: EmbeddedBatch) -> Float[Tensor, ""]:
    """Mean squared correlation of pairs of unlike coordinates of unit vectors, the mean of both sides; 0 to 1, about 1/G by chance.

    Source: Bardes et al. 2022 (arXiv:2105.04906), their covariance term, of correlations in place of covariances, so that scales do not count.
    """
    return (_mean_square(batch.queries_GD) + _mean_square(batch.documents_GD)) / 2


def _mean_square(embeddings_GD: Tensor) -> Tensor:
    unit_GD = torch.nn.functional.normalize(at_least_float32(embeddings_GD), dim=-1)
    centred_GD = unit_GD - unit_GD.mean(0)
    standard_GD = centred_GD * (centred_GD.square().mean(0) + LEAST).rsqrt()
    correlation_DD = standard_GD.T @ standard_GD / len(unit_GD)
    dim = len(correlation_DD)
    return (correlation_DD.square().sum() - correlation_DD.diagonal().square().sum()) / max(
        1, dim * (dim - 1)
    )
