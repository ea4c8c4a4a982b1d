"""Dimensions by distances to nearest neighbours. Local and non-linear: never compare them with those of a spectrum."""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 1024
CACHED = 64
"""Rows whose neighbours are measured at a time: they stay in a core's cache."""


def neighbour_distances(rows_MD: Float[Tensor, "M D"], k: int) -> Float[Tensor, "M K"]:
    """Euclidean distances to the k nearest other rows, ascending; exact, in blocks of 1,024 rows."""
    rows_MD = rows_MD - rows_MD.mean(0)
    norms = rows_MD.square().sum(1)
    k = min(k, len(rows_MD) - 1)
    candidates = min(
        k + 3, len(rows_MD) - 1
    )  # the expansion below loses digits: the chosen ones are measured anew
    found = []
    for start in range(0, len(rows_MD), BLOCK):
        rows = rows_MD[start : start + BLOCK]
        squared = norms[start : start + BLOCK, None] + norms - 2 * rows @ rows_MD.T
        squared.diagonal(start).fill_(torch.inf)
        nearest = squared.topk(candidates, largest=False).indices
        parts = [
            torch.linalg.vector_norm(some[:, None] - rows_MD[near], dim=2)
            for some, near in zip(rows.split(CACHED), nearest.split(CACHED), strict=True)
        ]
        found.append(torch.cat(parts).sort(dim=1).values[:, :k])
    return torch.cat(found)


def two_nn(distances_MK: Float[Tensor, "M K"], discard: float = 0.1) -> float:
    """TwoNN (Facco et al. 2017): slope through the origin of `-ln(1 - F(mu))` over `ln mu`, `mu = r2 / r1`.

    Args:
        distances_MK: to the nearest neighbours, K >= 2.
        discard: share of the largest mu that is left out.

    Returns:
        nan with fewer than 3 distinct rows; rows with a double (r1 = 0) are left out.
    """
    mu = _ratios(distances_MK)
    if len(mu) < 3:
        return float("nan")
    x = mu.sort().values.log()
    kept = min(int(len(x) * (1 - discard)), len(x) - 1)  # the last, of F = 1, has no logarithm
    y = -torch.log1p(-torch.arange(1, kept + 1, dtype=torch.float64) / len(x))
    x = x[:kept]
    return ((x * y).sum() / (x * x).sum()).item()


def two_nn_likelihood(distances_MK: Float[Tensor, "M K"]) -> float:
    """TwoNN by maximum likelihood, `(N - 1) / sum ln mu` (unbiased; the estimator of arXiv:2506.01435)."""
    mu = _ratios(distances_MK)
    return (len(mu) - 1) / mu.log().sum().item() if len(mu) > 2 else float("nan")


def levina_bickel(distances_MK: Float[Tensor, "M K"]) -> float:
    """Maximum likelihood (Levina & Bickel 2004): mean over rows of `[ 1/(k-1) sum_{j<k} ln(T_k / T_j) ]^-1`.

    k is all K columns; rows with a double are left out. nan where none is left.
    """
    distances = distances_MK[distances_MK[:, 0] > 0].double()
    if distances.shape[1] < 2 or not len(distances):
        return float("nan")
    logs = (distances[:, -1:] / distances[:, :-1]).log().mean(1)
    logs = logs[logs > 0]
    return logs.reciprocal().mean().item() if len(logs) else float("nan")


def _ratios(distances_MK: Tensor) -> Tensor:
    if distances_MK.shape[1] < 2:
        return torch.empty(0, dtype=torch.float64)
    nearest, second = distances_MK[:, 0].double(), distances_MK[:, 1].double()
    ratios = second[nearest > 0] / nearest[nearest > 0]
    return ratios[ratios > 1]
