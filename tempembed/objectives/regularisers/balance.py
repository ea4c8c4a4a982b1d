"""Balance: each bit is one in half of the rows."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import at_least_float32


def balance(batch: EmbeddedBatch) -> Float[Tensor, ""]:
    """Mean over the coordinates of their squared mean sign, the mean of both sides; 0 to 1, about 1/G by chance.

    Signs as the codecs have them; their gradient is that of `clamp(sqrt(D) x, -1, 1)` of unit vectors, as in terms on signs.
    Source: Weiss et al. 2008 (Spectral Hashing), the condition of balance.
    """
    return (_mean_square(batch.queries_GD) + _mean_square(batch.documents_GD)) / 2


def _mean_square(embeddings_GD: Tensor) -> Tensor:
    exact_GD = at_least_float32(embeddings_GD)
    line_GD = (torch.nn.functional.normalize(exact_GD, dim=-1) * exact_GD.shape[1] ** 0.5).clamp(-1, 1)
    signs_GD = torch.where(exact_GD > 0, 1.0, -1.0).to(exact_GD.dtype)
    return (line_GD + (signs_GD - line_GD).detach()).mean(0).square().mean()
