"""Sums and means over ranks, in place; with one process they change nothing."""

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from tempembed.parallel.gather import rank_and_world_size


def sum_over_ranks(tensor: Tensor) -> None:
    """Sum of a tensor over ranks, in place."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(tensor)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean over ranks of the gradients of parameters that DDP does not wrap, in place.

    Cross-rank contract: all ranks have gradients for the same parameters. With losses of local rows the mean is the
    gradient of the global batch, as DDP's is.
    """
    _, world_size = rank_and_world_size()
    if world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size


def gathered_objects(value: Any) -> list[Any]:
    """The value of every rank, in their order."""
    _, world_size = rank_and_world_size()
    if world_size == 1:
        return [value]
    found: list[Any] = [None] * world_size
    dist.all_gather_object(found, value)
    return found


def barrier() -> None:
    """Wait for all ranks."""
    if rank_and_world_size()[1] > 1:
        dist.barrier()
