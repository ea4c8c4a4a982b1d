"""The dense loss, straight from the formulas: the oracle for every faster engine."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempembed.objective import Terms


def nested_infonce(
    queries_BD: Float[Tensor, "B D"],
    candidates_CD: Float[Tensor, "C D"],
    positive_B: Int[Tensor, " B"],
    terms: Terms,
    valid_C: Bool[Tensor, " C"] | None = None,
) -> Float[Tensor, " T"]:
    """InfoNCE of every term, unweighted, each on its re-normalised prefix.

    For a term (d, tau): `mean_i [ logsumexp_j(s_ij / tau) - s_i,p(i) / tau ]`, s = cosine of the first d
    coordinates. Sums run in float32 (float64 if the embeddings are).

    Args:
        queries_BD: rows; need not be normalised.
        candidates_CD: the columns that all rows share: positives, other rows' positives, hard negatives.
        positive_B: the column of each row's positive.
        terms: the list of terms.
        valid_C: False for columns that are no candidates (padding of missing hard negatives).

    Returns:
        One loss per term, in nats, mean over the rows. With rows local to a rank and columns gathered over
        ranks, the mean over ranks (which DDP takes) is the loss of the global batch; do not rescale.

    Source: van den Oord et al. 2018 (arXiv:1807.03748) eq. 4; the paper's eqs. 1, 5-8.
    """
    dtype = torch.promote_types(queries_BD.dtype, torch.float32)
    similarity: dict[int, Tensor] = {}
    for dim in {term.dim for term in terms}:
        rows = F.normalize(queries_BD[:, :dim].to(dtype), dim=-1)
        columns = F.normalize(candidates_CD[:, :dim].to(dtype), dim=-1)
        similarity[dim] = rows @ columns.T
    losses = []
    for term in terms:
        logits_BC = similarity[term.dim] / term.temperature
        if valid_C is not None:
            logits_BC = logits_BC.masked_fill(~valid_C, -torch.inf)
        losses.append(F.cross_entropy(logits_BC, positive_B))
    return torch.stack(losses)
