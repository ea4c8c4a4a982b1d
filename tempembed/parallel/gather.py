"""The only collective that a loss uses: gather rows of all ranks, with the exact gradient."""

import time

import torch
import torch.distributed as dist
from torch import Tensor

from tempembed.system.errors import UserError


def rank_and_world_size() -> tuple[int, int]:
    """(0, 1) where no process group runs."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


# torch 2.13 renamed both and warns of the old names
_all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_seconds = 0.0


def gather_seconds() -> float:
    """What this process has spent in forward gathers so far, waiting for slower ranks included; on the host's clock.

    Gloo blocks until the rows are there; NCCL only queues, so with it this is next to nothing.
    """
    return _seconds


def _all_gather(gathered: Tensor, local: Tensor) -> None:
    global _seconds
    began = time.perf_counter()
    _all_gather_single(gathered, local)
    _seconds += time.perf_counter() - began


class _SumGather(torch.autograd.Function):
    """all_gather forward, reduce-scatter (sum) backward."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, local: Tensor) -> Tensor:
        _, world_size = rank_and_world_size()
        local = local.contiguous()
        gathered = local.new_empty((world_size * local.shape[0], *local.shape[1:]))
        _all_gather(gathered, local)
        return gathered

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        (grad,) = grads
        _, world_size = rank_and_world_size()
        rows = grad.shape[0] // world_size
        local = grad.new_empty((rows, *grad.shape[1:]))
        _reduce_scatter(local, grad.contiguous())
        return local


def gather(local: Tensor) -> Tensor:
    """Rows of all ranks, in the order of ranks; the gradient is the sum over ranks of each row's gradient.

    `[B, ...]` on each of W ranks becomes `[W·B, ...]`. With one process it is the identity.

    Cross-rank contract: all ranks call it in the same order with the same shape. Local rows against gathered
    columns, mean over local rows, then DDP's mean over ranks, is the exact gradient of the global batch.
    """
    _, world_size = rank_and_world_size()
    return local if world_size == 1 else _SumGather.apply(local)


def require_equal_shapes(shape: tuple[int, ...], names: str) -> None:
    """Every rank's `shape` is the same: a few bytes a step, where a gather of unequal shapes hangs or crashes.

    Raises:
        UserError: on every rank, with all shapes.
    """
    _, world_size = rank_and_world_size()
    if world_size == 1:
        return
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    gathered = torch.empty(world_size * len(shape), dtype=torch.int64, device=device)
    _all_gather(gathered, torch.tensor(shape, dtype=torch.int64, device=device))
    shapes = gathered.view(world_size, len(shape)).tolist()
    if any(tuple(other) != shape for other in shapes):
        raise UserError(
            f"expected the same ({names}) on every rank, got {dict(enumerate(map(tuple, shapes)))}"
        )
