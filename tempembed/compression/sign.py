"""Binarisation: one bit per coordinate, its sign (the paper, section 4)."""

import torch
from jaxtyping import Float
from torch import Tensor


def sign(embeddings: Float[Tensor, "M D"]) -> Float[Tensor, "M D"]:
    """+1 where a coordinate is > 0, else -1 (paper.md 4.7).

    The inner product of two such vectors is D - 2·(Hamming distance): ranking by one is ranking by the other.
    """
    return torch.where(embeddings > 0, 1.0, -1.0)


def bytes_per_vector(dim: int) -> int:
    """Packed, eight coordinates to a byte."""
    return -(-dim // 8)
