"""Weights, gradients and optimiser state in parts, one on each rank (FSDP2), and back in one piece where one is needed."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tempembed.parallel.gather import rank_and_world_size


class ShardedTrunk(nn.Module):
    """A trunk whose weights are in parts: each block is gathered when a forward or backward comes to it.

    Every forward is a collective, so all ranks make as many, of as many chunks: one that has fewer takes its shortest chunk
    again, whose rows are cut off, and whose gradient is zero. Gradients are reduced in every backward, so that no rank holds
    whole ones; they are the mean over ranks, as DDP's are.

    Args:
        trunk: takes a list of chunks and gives the embeddings of all their rows in order; not moved to its device yet.
        blocks: its modules whose weights are gathered together, in the order of the forward: its layers.
        device: takes the parts.
        bfloat16: gather and multiply in bfloat16; the parts, their sums and their gradients' stay float32.

    Source: Zhao et al. 2023 (arXiv:2304.11277); torch's `fully_shard`.
    """

    def __init__(
        self, trunk: nn.Module, blocks: Sequence[nn.Module], device: torch.device, *, bfloat16: bool = False
    ) -> None:
        super().__init__()
        self._copies = [_empty_copy(trunk)] if rank_and_world_size()[0] == 0 else []
        mesh = init_device_mesh(device.type, (rank_and_world_size()[1],))
        types: Any = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if bfloat16 else {}
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=MixedPrecisionPolicy(**types))
        # chunks are no tensors that it could cast
        policy = MixedPrecisionPolicy(
            **types, cast_forward_inputs=False, output_dtype=torch.float32 if bfloat16 else None
        )
        fully_shard(trunk, mesh=mesh, mp_policy=policy)
        for module in trunk.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)  # gloo has no mean
        self.module = trunk

    def forward(self, chunks: Sequence[Any]) -> Tensor:
        """Embeddings of all chunks' rows."""
        missing = _most_of_ranks(len(chunks)) - len(chunks)
        if not missing:
            return self.module(chunks)
        rows = sum(len(chunk) for chunk in chunks)
        return self.module([*chunks, *[min(chunks, key=len)] * missing])[:rows]

    @contextmanager
    def in_one_piece(self, device: torch.device) -> Iterator[None]:
        """Within, the trunk is on rank 0 what it was before, with today's weights, on a device: to be saved or measured.

        Cross-rank contract: all ranks enter; the others must not use it within.
        """
        for module in self.module.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        pieces = [whole(parameter) for parameter in self.module.parameters()]
        if not self._copies:
            del pieces
            yield
            return
        (copied,) = self._copies
        owners = _owners(copied)
        new = {
            id(empty): nn.Parameter(piece, requires_grad=empty.requires_grad)
            for empty, piece in zip(copied.parameters(), pieces, strict=True)
        }
        del pieces
        for module, name, empty in owners:
            module._parameters[name] = new[id(empty)]
        copied.to(device).train(self.module.training)
        _exchange(self.module, copied)
        try:
            yield
        finally:
            _exchange(self.module, copied)
            for module, name, empty in owners:
                module._parameters[name] = empty


def in_one_piece(trunk: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """As `ShardedTrunk.in_one_piece`; of a trunk that is not sharded nothing changes."""
    return trunk.in_one_piece(device) if isinstance(trunk, ShardedTrunk) else nullcontext()


def missing_calls(model: nn.Module, num: int) -> int:
    """How many more calls than `num` another rank makes of a sharded model; 0 of any other."""
    return _most_of_ranks(num) - num if isinstance(model, ShardedTrunk) else 0


def _most_of_ranks(num: int) -> int:
    most = torch.tensor(num, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def whole(tensor: Tensor) -> Tensor:
    """A tensor in one piece, on the CPU of rank 0; on the others nothing is kept. Of one that is not in parts: itself.

    Cross-rank contract: all ranks call it with the same tensors in the same order.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    parts: DTensor = tensor.detach()  # type: ignore[assignment]
    gathered = parts.full_tensor()
    return gathered.cpu() if rank_and_world_size()[0] == 0 else torch.empty(0)


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a tensor that every rank has, in parts as `like`; itself where that is in one piece."""
    if not isinstance(like, DTensor) or tensor.ndim != like.ndim:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _empty_copy(module: nn.Module) -> nn.Module:
    """A copy of its modules whose parameters take no memory yet; what else they hold, a tokenizer, they share."""
    made: dict[int, Any] = {}
    copied = _copied(module, made)
    for each in copied.modules():
        for name, value in list(vars(each).items()):
            held = {} if isinstance(value, type | nn.Module) else getattr(value, "__dict__", {})
            if again := {
                key: made[id(m)] for key, m in held.items() if isinstance(m, nn.Module) and id(m) in made
            }:
                each.__dict__[name] = copy.copy(value)  # the library's model card knows its model
                each.__dict__[name].__dict__.update(again)
    return copied


def _copied(module: nn.Module, made: dict[int, Any]) -> nn.Module:
    if id(module) in made:
        return made[id(module)]
    copied = made[id(module)] = object.__new__(type(module))
    # hooks are put into dictionaries: those of a copy are its own
    copied.__dict__ = {
        name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(module).items()
    }
    for name, child in module._modules.items():
        copied._modules[name] = None if child is None else _copied(child, made)
    for name, buffer in module._buffers.items():
        copied._buffers[name] = None if buffer is None else buffer.clone()
    for name, own in module._parameters.items():
        if own is not None and id(own) not in made:
            made[id(own)] = nn.Parameter(
                torch.empty_like(own, device="meta"), requires_grad=own.requires_grad
            )
        copied._parameters[name] = None if own is None else made[id(own)]
    return copied


def _owners(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    return [(m, name, p) for m in module.modules() for name, p in m.named_parameters(recurse=False)]


def _exchange(one: nn.Module, other: nn.Module) -> None:
    """Each becomes the other: whoever holds one has the other in its hands."""
    one.__dict__, other.__dict__ = other.__dict__, one.__dict__
    one.__class__, other.__class__ = other.__class__, one.__class__
