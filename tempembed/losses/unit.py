"""Unit vectors, without a copy on the way back."""

import torch
from jaxtyping import Float
from torch import Tensor

ROWS = 4096  # at a time, so that temporaries stay small


def unit(embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Rows over their Euclidean norms (at least 1e-12), computed in at least float32, in the dtype of the input.

    The backward writes over the gradient that it is given: use the result for nothing that keeps its own.
    """
    return _Unit.apply(embeddings)


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, embeddings: Tensor) -> Tensor:
        exact = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        norms = torch.linalg.vector_norm(exact, dim=-1, keepdim=True).clamp_min(1e-12)
        units = (exact / norms).to(embeddings.dtype)
        ctx.save_for_backward(units, norms)
        return units

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        units, norms = ctx.saved_tensors  # type: ignore[attr-defined]
        (gradient,) = gradients
        for low in range(0, len(gradient), ROWS):
            part, along, length = gradient[low : low + ROWS], units[low : low + ROWS], norms[low : low + ROWS]
            dots = torch.linalg.vecdot(part.to(norms.dtype), along.to(norms.dtype))
            part.addcmul_(along, dots[..., None].to(part.dtype), value=-1).div_(length)
        return gradient
