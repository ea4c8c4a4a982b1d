"""AdamW over a stage's groups, and the schedule of their learning rates."""

from typing import Any

import torch


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW; `peak` is a group's highest learning rate."""
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, num_steps: int, warmup: float) -> None:
    """Set the learning rates of a step, from 0: each group's peak times the schedule."""
    slope = schedule(step, num_steps, warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * slope


def schedule(step: int, num_steps: int, warmup: float) -> float:
    """Linear rise over the first `warmup` of the steps, then linear fall to zero."""
    rising = max(1, round(warmup * num_steps))
    if step < rising:
        return (step + 1) / rising
    return (num_steps - step) / max(1, num_steps - rising)
