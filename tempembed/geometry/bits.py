"""Whether the sign bits carry their full information: are they balanced, and are they independent?"""

import torch
from jaxtyping import Float
from torch import Tensor


def bit_balance(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """Mean over dimensions of `|2 p - 1|`, p the share of positive coordinates: 0 balanced, 1 constant."""
    return (2 * (embeddings_MD > 0).double().mean(0) - 1).abs().mean().item()


def bit_correlation(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """Mean absolute correlation of two different sign bits; constant bits have none and are left out."""
    signs = torch.where(embeddings_MD > 0, 1.0, -1.0)
    centred = signs - signs.mean(0)
    norms = centred.norm(dim=0)
    centred = centred[:, norms > 0] / norms[norms > 0]
    num = centred.shape[1]
    if num < 2:
        return 0.0
    correlation = (centred.T @ centred).abs()
    return ((correlation.sum() - correlation.diagonal().sum()) / (num * (num - 1))).item()
