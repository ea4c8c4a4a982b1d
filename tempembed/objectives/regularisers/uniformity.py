"""Uniformity: embeddings that lie far from each other on the sphere."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import at_least_float32

SHARPNESS = 2.0
"""t of the Gaussian potential, as in the source."""


def uniformity(batch: EmbeddedBatch) -> Float[Tensor, ""]:
    """`log mean exp(-t |x - y|^2)` over pairs of unlike rows, the mean of both sides; at most 0, smaller is more uniform.

    G x G products of each side: as much work again as a term at full width.

    Source: Wang & Isola 2020 (arXiv:2005.10242), eq. 6.
    """
    return (_potential(batch.queries_GD) + _potential(batch.documents_GD)) / 2


def _potential(embeddings_GD: Tensor) -> Tensor:
    unit_GD = torch.nn.functional.normalize(at_least_float32(embeddings_GD), dim=-1)
    places = torch.triu_indices(len(unit_GD), len(unit_GD), offset=1, device=unit_GD.device)
    cosines_P = (unit_GD @ unit_GD.T)[places[0], places[1]]
    return torch.logsumexp(-SHARPNESS * (2 - 2 * cosines_P), 0) - math.log(len(cosines_P))
