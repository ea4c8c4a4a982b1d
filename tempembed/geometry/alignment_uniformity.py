"""Alignment and uniformity (Wang & Isola 2020, arXiv:2005.10242)."""

import torch
from jaxtyping import Float
from torch import Tensor


def alignment(queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"]) -> float:
    """`E || f(x) - f(y) ||^2` over positive pairs of unit vectors; 0 is perfect, 2 is unrelated."""
    return (queries_BD - documents_BD).pow(2).sum(1).mean().item()


def uniformity(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """`log E exp(-2 || f(x) - f(y) ||^2)` over distinct pairs of unit vectors; 0 collapsed, near -4 uniform.

    The signed loss: smaller is more uniform.
    """
    squared = torch.pdist(embeddings_MD).pow(2)
    return squared.mul(-2).exp().mean().log().item()
