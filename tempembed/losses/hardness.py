"""How the similarities of one row's negatives become one number beside its positive: InfoNCE, debiased, hard."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tempembed.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Hardness:
    """Robinson et al. 2021 (arXiv:2010.04592); both zero is InfoNCE, beta = 0 alone is Chuang et al. 2020."""

    beta: float = 0.0
    """Concentration on hard negatives: they behave as if at temperature tau / (1 + beta)."""
    tau_plus: float = 0.0
    """Share of the negatives that are thought to be positives, taken off their sum."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise UserError(f"--beta: expected a finite number >= 0, got {self.beta}")
        if not 0 <= self.tau_plus < 1:
            raise UserError(f"--tau-plus: expected a share, 0 to below 1, got {self.tau_plus}")

    @property
    def powers(self) -> tuple[float, ...]:
        """The powers of e^logit whose sums over the negatives are needed."""
        return (1 + self.beta, self.beta) if self.beta or self.tau_plus else (1.0,)


INFONCE = Hardness()


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Loss of each row and its slopes."""

    loss: Tensor
    """`-log( p / (p + Ng) )`, nats."""
    slopes: tuple[Tensor, ...]
    """For each power: d loss / d logit_j = slope · softmax_j(power · logit) over the negatives."""
    positive: Tensor
    """d loss / d logit of the positive."""
    inverse_temperature: Tensor
    """d loss / d (1/tau) beside what goes through the logits."""


def combine(
    positive: Tensor, log_sums: tuple[Tensor, ...], num_negatives: Tensor, scale: Tensor, hardness: Hardness
) -> Combined:
    """Put positive and negatives together, in log space.

    With `p = e^positive`, `M` negatives `n_j` and `R = M · sum n_j^(1+beta) / sum n_j^beta`:
    `Ng = max( (R - tau_plus·M·p) / (1 - tau_plus), M·e^(-1/tau) )` (paper.md 4.2). A row without negatives has
    loss and slopes 0.

    Args:
        positive: logit of the positive.
        log_sums: `log sum_j e^(power · logit_j)` over the negatives, for each of `hardness.powers`.
        num_negatives: M of each row.
        scale: 1 / tau.
        hardness: beta and tau_plus.
    """
    nothing = torch.zeros_like(positive)
    none = torch.isneginf(log_sums[0])
    if len(log_sums) == 1:
        total = torch.logaddexp(positive, log_sums[0])
        slope = (log_sums[0] - total).exp()
        return Combined(loss=total - positive, slopes=(slope,), positive=-slope, inverse_temperature=nothing)
    log_num = num_negatives.log()
    log_r = log_num + log_sums[0] - log_sums[1]
    # R - tau_plus·M·p = R · (1 - taken); below the floor the negatives are a constant
    taken = (math.log(hardness.tau_plus) + log_num + positive - log_r).exp() if hardness.tau_plus else nothing
    floor = log_num - scale
    log_negatives = log_r + torch.log1p(-taken.clamp(max=1)) - math.log1p(-hardness.tau_plus)
    # Without tau_plus the sum cannot fall below its floor: cosines are at least -1
    clamped = (log_negatives <= floor) if hardness.tau_plus else torch.zeros_like(none)
    log_negatives = torch.where(clamped, floor, log_negatives)
    log_negatives = torch.where(none, -torch.inf, log_negatives)
    total = torch.logaddexp(positive, log_negatives)
    share = (log_negatives - total).exp()
    steep = torch.where(clamped | none, 0.0, share / (1 - taken))
    return Combined(
        loss=total - positive,
        slopes=(steep * (1 + hardness.beta), -steep * hardness.beta),
        positive=torch.where(clamped, -share, -steep),
        inverse_temperature=torch.where(clamped, -share, 0.0),
    )
