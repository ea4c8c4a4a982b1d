"""KoLeo: no embedding has a near neighbour."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import at_least_float32

LEAST = 1e-8
"""Distance below which two rows are one text: its logarithm stays finite."""


def koleo(batch: EmbeddedBatch) -> Float[Tensor, ""]:
    """`-mean log |x_i - nearest(x_i)|` of unit vectors, the mean of both sides: the differential entropy of Kozachenko and Leonenko.

    Source: Sablayrolles et al. 2019 (arXiv:1806.03198), eq. 2.
    """
    return (_entropy(batch.queries_GD) + _entropy(batch.documents_GD)) / 2


def _entropy(embeddings_GD: Tensor) -> Tensor:
    unit_GD = torch.nn.functional.normalize(at_least_float32(embeddings_GD), dim=-1)
    with torch.no_grad():
        cosines_GG = unit_GD @ unit_GD.T
        nearest_G = cosines_GG.fill_diagonal_(-2).argmax(1)
    distances_G = (unit_GD - unit_GD[nearest_G]).square().sum(1).clamp_min(LEAST**2).sqrt()
    return -distances_G.log().mean()
