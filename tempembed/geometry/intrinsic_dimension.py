"""How many dimensions an embedding space really uses."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def pca95(embeddings_MD: Float[Tensor, "M D"]) -> int:
    """Principal components that carry 95 % of the variance: `min { k : sum_{i<=k} lambda_i >= 0.95 sum lambda_i }`.

    Biased low where M is not far above D: always print M, and the baseline beside it (paper.md 1.3, Figure 4).
    """
    centred = embeddings_MD.double() - embeddings_MD.double().mean(0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp_min(0)
    share = eigenvalues.cumsum(0) / eigenvalues.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return min(int((share < 0.95).sum()) + 1, embeddings_MD.shape[1])


@lru_cache
def pca95_random(num: int, width: int, seed: int = 0) -> int:
    """The same of `num` random Gaussian vectors: 896 for 5,000 x 1024 (paper.md section 2)."""
    return pca95(torch.randn(num, width, generator=torch.Generator().manual_seed(seed)))
