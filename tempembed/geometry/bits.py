"""Whether the sign bits carry their full information, and whether it tells a query's document from its neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

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
    covariance = centred.T @ centred
    return (covariance.trace().square() / covariance.square().sum().clamp_min(1e-12)).item()


def bit_margin(queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"]) -> float:
    """Margin over quantisation noise: how far a query's document stands above the ten nearest others, over what bits blur.

    The margin is the mean, in float cosines. The noise is what the cosines of the signs of these pairs leave unexplained by a
    line through the float ones, root mean square, over the slope of the line.

    Args:
        queries_BD: unit vectors.
        documents_BD: unit vectors; row i belongs to query i.
    """
    cosines_BB = queries_BD @ documents_BD.T
    own = torch.arange(len(cosines_BB))
    others_BB = cosines_BB.clone().fill_diagonal_(-torch.inf)
    near_BK = others_BB.topk(min(NEAREST, len(own) - 1), 1).indices
    places_BK = torch.cat([own[:, None], near_BK], 1)
    float_BK = cosines_BB.gather(1, places_BK).double()
    bits_BK = (_signs(queries_BD) @ _signs(documents_BD).T).gather(1, places_BK).double() / queries_BD.shape[
        1
    ]
    margin = (float_BK[:, 0] - float_BK[:, 1:].mean(1)).mean()
    x, y = float_BK - float_BK.mean(), bits_BK - bits_BK.mean()
    slope = (x * y).sum() / x.square().sum().clamp_min(1e-12)
    noise = (y - slope * x).square().mean().sqrt()
    return (margin * slope / noise.clamp_min(1e-12)).item()


def _signs(embeddings_MD: Tensor) -> Tensor:
    return torch.where(embeddings_MD > 0, 1.0, -1.0)


def _centred(embeddings_MD: Tensor) -> Tensor:
    signs = _signs(embeddings_MD)
    return signs - signs.mean(0)
