"""A measured quantity over seeds and queries, and the paired interval of what is computed from several of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from tempembed.evaluation.statistics import interval as percentiles
from tempembed.evaluation.statistics import ratio

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A quantity of one entry, a row for each seed. Replicate r is the same resample of the queries for all seeds and entries."""

    seeds: tuple[int, ...]
    values_S: Float[Tensor, " S"]
    replicates_SR: Float[Tensor, "S R"] | None
    """None: a quantity without queries, such as an intrinsic dimension."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return self.values_S.mean().item()

    @property
    def interval(self) -> Interval | None:
        """95 %, for seeds and queries; without replicates by Student's t over the seeds; None where one seed is all."""
        if self.replicates_SR is not None:
            return percentiles(hierarchical(self.replicates_SR))
        return student(self.values_S)


def paired(function: Callable[..., Tensor], *samples: Sample) -> Sample:
    """A function of several samples, seed by seed and replicate by replicate: that is what pairs them.

    Seeds that one of them lacks are left out.
    """
    seeds = tuple(seed for seed in samples[0].seeds if all(seed in s.seeds for s in samples))
    rows = [[s.seeds.index(seed) for seed in seeds] for s in samples]
    values = function(*(s.values_S[r] for s, r in zip(samples, rows, strict=True)))
    drawn = [s.replicates_SR[r] for s, r in zip(samples, rows, strict=True) if s.replicates_SR is not None]
    return Sample(
        seeds=seeds,
        values_S=values,
        replicates_SR=function(*drawn) if len(drawn) == len(samples) else None,
    )


def difference(a: Sample, b: Sample) -> Sample:
    """The first without the second."""
    return paired(torch.sub, a, b)


def share(part: Sample, whole: Sample) -> Sample:
    """The part as a share of the whole."""
    return paired(ratio, part, whole)


def average(*samples: Sample) -> Sample:
    """Their mean."""
    return paired(lambda *parts: torch.stack(parts).mean(0), *samples)


def hierarchical(replicates_SR: Float[Tensor, "S R"]) -> Float[Tensor, " R"]:
    """Bootstrap of the mean over seeds: each replicate resamples the queries and draws seeds with replacement.

    The mean of S draws out of S varies by (S - 1) / S of what the mean of S seeds does (Efron & Tibshirani 1993, 5.3), at
    three seeds a third too little; the draws' distance from the seeds' mean is stretched by what makes that good.
    """
    num_seeds, num = replicates_SR.shape
    rows = replicates_SR.double()
    centre_R = rows.mean(0)
    if num_seeds == 1:
        return centre_R
    picks = torch.randint(num_seeds, (num_seeds, num), generator=torch.Generator().manual_seed(0))
    drawn_R = rows.gather(0, picks).mean(0)
    return centre_R + math.sqrt(num_seeds / (num_seeds - 1)) * (drawn_R - centre_R)


def student(values_S: Float[Tensor, " S"]) -> Interval | None:
    """95 % of the mean by Student's t."""
    num = len(values_S)
    if num < 2:
        return None
    mean, error = values_S.double().mean().item(), values_S.double().std().item() / math.sqrt(num)
    reach = float(stats.t.ppf(0.975, num - 1)) * error
    return mean - reach, mean + reach
