"""Bootstrap intervals, one resampling for all codecs, so that ratios are paired."""

import torch
from jaxtyping import Float
from torch import Tensor

Interval = tuple[float, float]


def bootstrap(
    scores_CQ: Float[Tensor, "C Q"], full_Q: Float[Tensor, " Q"], *, resamples: int = 1000, seed: int = 0
) -> tuple[list[Interval], list[Interval]]:
    """95 % percentile intervals of each codec's mean over queries, and of its ratio to the full codec's mean.

    Resampling queries is a count matrix, so all codecs cost one product [resamples, Q] x [Q, C + 1].
    Source: Efron & Tibshirani 1993, chapter 13.
    """
    num = scores_CQ.shape[1]
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(num, (resamples, num), generator=generator)
    counts = torch.zeros(resamples, num, dtype=torch.float64)
    counts.scatter_add_(1, picks, torch.ones_like(picks, dtype=torch.float64))
    means = counts @ torch.cat([scores_CQ, full_Q[None]]).double().T / num
    ratios = means[:, :-1] / means[:, -1:].clamp_min(1e-12)
    edges = torch.tensor([0.025, 0.975], dtype=torch.float64)

    def intervals(values: Tensor) -> list[Interval]:
        low, high = values.quantile(edges, dim=0)
        return list(zip(low.tolist(), high.tolist(), strict=True))

    return intervals(means[:, :-1]), intervals(ratios)
