"""Gradient caching: a batch's embeddings at once, its activations one chunk at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempembed.parallel.sharding import missing_calls


def cached_forward(model: nn.Module, groups: Sequence[Sequence[Any]]) -> Float[Tensor, "M D"]:
    """`model` of all chunks of all groups, of which the backward computes the activations again, one group at a time.

    Memory is that of one group's activations and of all embeddings; time is one more forward. Randomness is
    replayed, so values and gradients are those of one call, dropout included, up to rounding.

    Args:
        model: takes a list of chunks and gives the embeddings of all their rows in order; its randomness must
            be drawn chunk by chunk. May be wrapped in `DistributedDataParallel`.
        groups: at least one, each of chunks that go through the model in one call. The last must reach every parameter that
            any group reaches: with two towers it has a chunk of each.

    Cross-rank contract: ranks may have different numbers of groups. Only a rank's last group lets DDP reduce, so there
    is one all-reduce of gradients per backward, on every rank. Of a sharded model (`parallel.sharding`) each call is a
    collective: a rank with fewer groups takes its last again, with a gradient of zero, and each backward reduces.

    Source: Gao et al. 2021 (arXiv:2101.06983).
    """
    anchor = torch.zeros((), requires_grad=True)  # the output's gradient must be asked for
    return _Cached.apply(anchor, model, groups)


class _Cached(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        anchor: Tensor,
        model: nn.Module,
        groups: Sequence[Sequence[Any]],
    ) -> Tensor:
        bare = model.module if isinstance(model, DistributedDataParallel) else model
        states, parts, missing = [], [], missing_calls(model, len(groups))
        for group in groups:
            states.append(_random_state())
            parts.append(bare(group))
        with _random_state_kept():
            for _ in range(missing):
                model(groups[-1])
        ctx.replay = model, groups, states, [len(part) for part in parts], missing  # type: ignore[attr-defined]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[None, None, None]:
        model, groups, states, sizes, missing = ctx.replay  # type: ignore[attr-defined]
        last = len(groups) - 1
        parts = gradients[0].split(sizes)
        with _random_state_kept(), torch.enable_grad():
            for i, (group, state, gradient) in enumerate(zip(groups, states, parts, strict=True)):
                quiet = i < last and isinstance(model, DistributedDataParallel)
                with model.no_sync() if quiet else nullcontext():
                    _set_random_state(state)
                    model(group).backward(gradient)
            for _ in range(missing):
                again = model(groups[-1])
                again.backward(torch.zeros_like(again))
        return None, None, None


def _random_state() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


@contextmanager
def _random_state_kept() -> Iterator[None]:
    state = _random_state()
    try:
        yield
    finally:
        _set_random_state(state)
