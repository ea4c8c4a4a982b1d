"""All terms of an objective, value and gradient, in one tiled pass (`losses/blocks.py`; on a GPU `losses/fused.py`)."""

from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.losses.blocks import Problem, Run, block_and_strip, constant
from tempembed.losses.views import SIDES, levels_of
from tempembed.objectives.term import Terms


def nested_tiled(
    rows_BD: Float[Tensor, "B D"],
    columns_CD: Float[Tensor, "C D"],
    temperatures_T: Float[Tensor, " T"],
    problem: Problem,
) -> tuple[Float[Tensor, ""], Float[Tensor, " T"], Int[Tensor, ""]]:
    """The weighted objective of the local rows against all columns, each term's unweighted loss (no gradient), and how many

    candidates of the local rows are masked.

    Mean over the local rows, in nats; with both directions the mean of the two. Cosines on re-normalised prefixes;
    the widest prefix must be normalised already. Sums in float32, or float64 if the embeddings are.

    Cross-rank contract: rows are local, columns are gathered. The gradient of the rows is that of the sum of all
    ranks' objectives, that of the columns this rank's share of it, to be summed over ranks (`gather` does);
    the mean over ranks of what reaches the parameters is then exact. With both directions the ranks exchange
    column sums here; rows of all ranks must be equally many.
    """
    return _Nested.apply(rows_BD, columns_CD, 1 / temperatures_T, problem)


def workspace_bytes(num_rows: int, num_columns: int, terms: Terms, size: int = 4, device: str = "cpu") -> int:
    """Memory of the pass beyond embeddings and gradients: a block for each dim of a view and two strips; signs, integers and their gradients."""
    block, strip = block_and_strip(num_rows, num_columns, size, device)
    blocks = (block * len(levels_of(terms)) + 2 * strip) * num_columns
    kinds = [{SIDES[term.view][place] for term in terms} - {"float"} for place in (0, 1)]
    stored = 2 * (num_rows * len(kinds[0]) + num_columns * len(kinds[1])) * max(term.dim for term in terms)
    return (blocks + stored) * size


class _Nested(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        rows_BD: Tensor,
        columns_CD: Tensor,
        scales_T: Tensor,
        problem: Problem,
    ) -> tuple[Tensor, Tensor, Tensor]:
        run = _kind_of_run(rows_BD.device, problem)(
            rows_BD.detach(),
            columns_CD.detach(),
            scales_T.detach(),
            problem,
            ctx.needs_input_grad[:3],  # type: ignore[attr-defined]
        )
        losses_T = run.losses()
        weights_T = constant(tuple(term.weight for term in problem.terms), losses_T.dtype, losses_T.device)
        ctx.gradients = run.gradients()  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(losses_T, run.num_masked)
        return (losses_T * weights_T).sum(), losses_T, run.num_masked

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # type: ignore[attr-defined]
        if gradients is None:
            raise RuntimeError("the gradient of this loss was taken before; compute the loss again")
        return (*(None if g is None else g.mul_(outputs[0]) for g in gradients), None)


def _kind_of_run(device: torch.device, problem: Problem) -> type["Run"]:
    """Fused kernels on a GPU that has Triton; the second direction and masks by similarity have none."""
    is_plain = not problem.both and problem.margin is None and problem.guide is None
    if device.type != "cuda" or not is_plain or find_spec("triton") is None:
        return Run
    from tempembed.losses.fused import FusedRun  # imports Triton

    return FusedRun
