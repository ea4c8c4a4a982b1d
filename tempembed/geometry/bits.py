"""Whether the sign bits carry their full information, and whether it tells a query's document from its neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.negatives import TRAINING_DOCUMENTS, TRAINING_QUERIES

NEAREST = 10
"""Documents that compete with the right one for the first ten places."""


def bit_balance(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """Mean over dimensions of `|2 p - 1|`, p the share of positive coordinates: 0 balanced, 1 constant."""
    return (2 * (embeddings_MD > 0).double().mean(0) - 1).abs().mean().item()


def bit_correlation(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """Mean absolute correlation of two different sign bits; constant bits have none and are left out."""
    centred = _centred(embeddings_MD)
    norms = centred.norm(dim=0)
    centred = centred[:, norms > 0] / norms[norms > 0]
    num = centred.shape[1]
    if num < 2:
        return 0.0
    correlation = (centred.T @ centred).abs()
    return ((correlation.sum() - correlation.diagonal().sum()) / (num * (num - 1))).item()


def bit_participation(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """Participation ratio of the sign bits' covariance, `(tr C)^2 / tr C^2`: how many independent bits they are worth.

    At most D, and by chance less, `1 / (1 / D + 1 / M)` for M rows of independent, balanced bits; 0 where all are constant.
    """
    centred = _centred(embeddings_MD)
    return participation(centred.T @ centred)


def participation(covariance_DD: Float[Tensor, "D D"]) -> float:
    """`(tr C)^2 / tr C^2`, whatever C is scaled by; 0 where it is 0."""
    return (covariance_DD.trace().square() / covariance_DD.square().sum().clamp_min(1e-12)).item()


def bit_margin(queries_QD: Float[Tensor, "Q D"], documents_BD: Float[Tensor, "B D"]) -> float:
    """Margin over quantisation noise: how far a query's document stands above the ten nearest others, over what bits blur.

    The margin is the mean, in float cosines. The noise is what the cosines of the signs of these pairs leave unexplained by a
    line through the float ones, root mean square, over the slope of the line.

    Args:
        queries_QD: unit vectors.
        documents_BD: unit vectors; row i belongs to query i, all others are its neighbours. 2 <= Q <= B.
    """
    cosines_QB = queries_QD @ documents_BD.T
    own = torch.arange(len(cosines_QB), device=cosines_QB.device)
    others_QB = cosines_QB.clone().fill_diagonal_(-torch.inf)
    near_QK = others_QB.topk(min(NEAREST, len(documents_BD) - 1), 1).indices
    places_QK = torch.cat([own[:, None], near_QK], 1)
    float_QK = cosines_QB.gather(1, places_QK).double()
    bits_QK = (signs(queries_QD) @ signs(documents_BD).T).gather(1, places_QK).double() / queries_QD.shape[1]
    margin = (float_QK[:, 0] - float_QK[:, 1:].mean(1)).mean()
    x, y = float_QK - float_QK.mean(), bits_QK - bits_QK.mean()
    slope = (x * y).sum() / x.square().sum().clamp_min(1e-12)
    noise = (y - slope * x).square().mean().sqrt()
    return (margin * slope / noise.clamp_min(1e-12)).item()


@torch.no_grad()
def training_margin(queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"]) -> dict[str, float]:
    """The margin as a training curve, of a rank's own batch as the encoder made it: its first 64 queries, its first 1,024 documents.

    Empty with fewer than three pairs.
    """
    if len(documents_BD) < 3:
        return {}
    queries, documents = (
        torch.nn.functional.normalize(rows.float(), dim=-1)
        for rows in (queries_BD[:TRAINING_QUERIES], documents_BD[:TRAINING_DOCUMENTS])
    )
    return {"train/bit_margin": bit_margin(queries, documents)}


def signs(embeddings_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M D"]:
    """±1 as the codecs have it, in float32."""
    return torch.where(embeddings_MD > 0, 1.0, -1.0)


def _centred(embeddings_MD: Tensor) -> Tensor:
    found = signs(embeddings_MD)
    return found - found.mean(0)
