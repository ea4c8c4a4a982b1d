"""Dimensions by eigenvalues (docs/design/paper.md 4.9): each is a function of a spectrum, in descending order."""

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.moments import Moments

TINY = torch.finfo(torch.float64).tiny


def spectrum(moments: Moments) -> Float[Tensor, " D"]:
    """Eigenvalues of the covariance, descending; rounding below zero is zero."""
    return _eigenvalues(moments.covariance())


def uncentred_spectrum(moments: Moments) -> Float[Tensor, " D"]:
    """Squares of the singular values of the rows as they are."""
    return _eigenvalues(moments.uncentred())


def _eigenvalues(matrix_DD: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(matrix_DD).flip(0)
    # what is below the rounding of float32 products is none
    return torch.where(values > values[0].clamp_min(0) * 1e-9, values, 0.0)


def pca_count(eigenvalues_D: Float[Tensor, " D"], share: float = 0.95) -> int:
    """Principal components that carry a share of the variance: `min { k : sum_{i<=k} lambda_i >= share sum lambda_i }`."""
    carried = eigenvalues_D.cumsum(0) / eigenvalues_D.sum().clamp_min(TINY)
    return min(int((carried < share).sum()) + 1, len(eigenvalues_D))


def participation_ratio(eigenvalues_D: Float[Tensor, " D"]) -> float:
    """`(sum lambda)^2 / sum lambda^2`; 0 without variance."""
    return (eigenvalues_D.sum().square() / eigenvalues_D.square().sum().clamp_min(TINY)).item()


def isoscore(eigenvalues_D: Float[Tensor, " D"]) -> float:
    """`(PR - 1) / (D - 1)`: 1 where all directions have equal variance, 0 where one has all (Rudman et al. 2022)."""
    return max(0.0, (participation_ratio(eigenvalues_D) - 1) / max(1, len(eigenvalues_D) - 1))


def entropy_rank(weights_D: Float[Tensor, " D"]) -> float:
    """`exp(-sum p ln p)`, `p = weights / sum`; 0 where all are zero.

    Of the covariance's eigenvalues: the eigen-entropy rank. Of the uncentred rows' singular values: RankMe (Garrido et
    al. 2023, arXiv:2210.02885).
    """
    total = weights_D.sum()
    if total <= 0:
        return 0.0
    p = weights_D / total
    return torch.special.entr(p).sum().exp().item()


def stable_rank(squared_singular_values_D: Float[Tensor, " D"]) -> float:
    """`sum sigma^2 / max sigma^2` (Rudelson & Vershynin 2007)."""
    return (squared_singular_values_D.sum() / squared_singular_values_D[0].clamp_min(TINY)).item()


def variance_spread(covariance_DD: Float[Tensor, "D D"]) -> float:
    """Standard deviation over mean of the coordinates' variances: 0 where all vary alike, as after a random rotation.

    "Coordinate heterogeneity governs binary quantization" (arXiv:2605.17524): what sign bits keep depends on it.
    """
    variances_D = covariance_DD.diagonal()
    return (variances_D.std(correction=0) / variances_D.mean().clamp_min(TINY)).item()
