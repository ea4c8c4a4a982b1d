"""Dropout whose mask costs little on a CPU: sixteen random bits an element, and no mask is kept for the backward.

torch draws an element of a mask in 8 to 12 ns; here it is a quarter of a 64-bit word of SFC64, 0.4 ns, whose seed comes from
torch's generator. So a state of that generator still decides every mask: gradient caching, checkpointing and a run that is
resumed replay it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

STEPS = 2**16
"""Values of a draw: a share is right to half of one."""


class Masks:
    """Masks of one call, one after the other.

    Args:
        seed: of all of them.
        share: of elements that are dropped.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._bits = np.random.SFC64(seed)
        self._dropped = round(share * STEPS)
        self.scale = STEPS / (STEPS - self._dropped)
        """What is kept is multiplied by this, so that the mean stays."""

    @staticmethod
    def seed() -> int:
        """The next seed of torch's generator."""
        return int(torch.randint(2**63 - 1, ()))

    def next(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Ones where an element is kept, zeros elsewhere."""
        size = math.prod(shape)
        draws = torch.from_numpy(self._bits.random_raw(-(-size // 4)).view(np.int16))
        kept = torch.empty(shape, dtype=dtype)
        return torch.ge(draws[:size].view(shape), self._dropped - STEPS // 2, out=kept)


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU the mask is that of `Masks`, in the forward and again in the backward."""

    def forward(self, input: Tensor) -> Tensor:
        """Some elements zero, the others larger, in training."""
        if not self.training or not 0 < self.p < 1 or self.inplace or input.device.type != "cpu":
            return super().forward(input)
        return _Dropped.apply(input, Masks.seed(), self.p)

    def _get_name(self) -> str:
        return "Dropout"  # a model is known by what it says of itself


def cheapen(model: nn.Module) -> None:
    """Make each dropout of a model one of these."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, seed: int, share: float) -> Tensor:
        ctx.mask = seed, share  # type: ignore[attr-defined]
        return _masked(values, seed, share)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _masked(gradient, *ctx.mask), None, None  # type: ignore[attr-defined]


def _masked(values: Tensor, seed: int, share: float) -> Tensor:
    masks = Masks(seed, share)
    return masks.next(values.shape, values.dtype).mul_(values).mul_(masks.scale)
