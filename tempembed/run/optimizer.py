"""AdamW over a stage's groups, and the schedule of their learning rates."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tempembed.settings.optimizer import DECAY_SHARE, OptimizerSettings


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW; `peak` is a group's highest learning rate."""
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def clip(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale the gradients down to a norm of at most `most` (0: leave them), and return the norm that they had."""
    norm = nn.utils.clip_grad_norm_(parameters, most or torch.inf, error_if_nonfinite=False)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def set_learning_rates(
    optimizer: torch.optim.Optimizer, step: int, num_steps: int, settings: OptimizerSettings
) -> None:
    """Set the learning rates of a step, from 0: each group's peak times the schedule."""
    slope = schedule(step, num_steps, settings)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * slope


def schedule(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Share of the peak learning rate at a step, from 0: a linear rise, whose last step has the peak, then the schedule's fall.

    >>> [schedule(step, 10, OptimizerSettings(warmup=0.2)) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    >>> [schedule(step, 10, OptimizerSettings(warmup_steps=4)) for step in (0, 3, 7)]
    [0.25, 1.0, 0.5]
    """
    rising = settings.warmup_steps
    if rising is None:
        rising = max(1, round(settings.warmup * num_steps))
    if step < rising:
        return (step + 1) / rising
    rest = max(1, num_steps - rising)
    match settings.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return cosine((step - rising) / rest)
        case "wsd":
            falling = max(1, round((settings.decay_share or DECAY_SHARE) * num_steps))
            return stable_then_decay(num_steps - step, falling)
        case _:
            return (num_steps - step) / rest


def cosine(done: float) -> float:
    """Half a wave, from 1 where nothing is done to 0 where all is.

    Source: Loshchilov and Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts.

    >>> [round(cosine(done), 3) for done in (0, 0.25, 0.5, 1)]
    [1.0, 0.854, 0.5, 0.0]
    """
    return 0.5 * (1.0 + math.cos(math.pi * done))


def stable_then_decay(left: int, falling: int) -> float:
    """1 until `falling` steps are left, then 1 - sqrt of the part of them that is done.

    Source: Hägele et al. 2024 (arXiv:2405.18392), eq. 2.

    >>> [stable_then_decay(left, 4) for left in (9, 4, 3, 0)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return 1.0 - math.sqrt(max(0, falling - left) / falling)
