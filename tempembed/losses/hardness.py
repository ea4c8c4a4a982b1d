"""How the similarities of one row's negatives become one number beside its positive: InfoNCE, debiased, hard."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tempembed.objectives.term import Hardness


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
    `Ng = max( (R - tau_plus·M·p) / (1 - tau_plus), M·e^(-1/tau) )` (docs/design/paper.md 4.2). A row without negatives has
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
