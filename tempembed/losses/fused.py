# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202 (Triton's kernels take what they are given)
"""The pass over blocks on a GPU: the element-wise work of all terms of a level in two kernels.

torch's own operators take a block through memory some thirty times for a level, and a strip at a time they are bound by
their launches. Here one kernel reads a block for the sums over the negatives, and one turns it into the gradient's
weights. What comes between is done for the rows of all terms at once, so that launches stay few.

Shape legend: R rows of a block, K levels, T terms in the order of their levels, P powers, C columns.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from tempembed.losses.blocks import HIDDEN, Problem, Run, constant
from tempembed.losses.hardness import combine

SUM_COLUMNS, TILE_ROWS, TILE_COLUMNS = 1024, 16, 128
_HIDDEN = tl.constexpr(HIDDEN)


class FusedRun(Run):
    """One direction in fused kernels. Sums are in a fixed order: the same inputs give the same bits."""

    def __init__(
        self,
        rows_BD: Tensor,
        columns_CD: Tensor,
        scales_T: Tensor,
        problem: Problem,
        needs: Sequence[bool],
    ) -> None:
        super().__init__(rows_BD, columns_CD, scales_T, problem, needs)
        order = tuple(t for terms in self.terms for t in terms)
        self.order = constant(order, torch.int64, self.device)
        ends = list(accumulate(len(terms) for terms in self.terms))
        self.of_level = [slice(low, high) for low, high in zip([0, *ends], ends, strict=False)]
        weights = tuple(problem.terms[t].weight / len(rows_BD) for t in order)
        self.factor_T1 = constant(weights, self.dtype, self.device)[:, None]
        self.scale_T1 = scales_T.to(self.dtype)[self.order, None]
        self.share_T1 = self.factor_T1 * self.scale_T1
        self.exponents_TP = torch.cat([self.scale_T1 * power for power in problem.hardness.powers], 1)
        self.positive_TB = torch.stack(
            [self.positives[k] for k, terms in enumerate(self.terms) for _ in terms]
        )

    def _visit(self, rows: slice) -> None:
        self._similarities(rows)
        blocks = [block[: rows.stop - rows.start] for block in self.blocks]
        counts_R = self._hide_false_negatives(rows, blocks)
        top_KR, sums_TPR, logs_TPR, means_TPR = self._sums(rows, blocks, counts_R)
        positive_TR, hardness = self.positive_TB[:, rows], self.problem.hardness
        combined = combine(positive_TR * self.scale_T1, logs_TPR.unbind(1), counts_R, self.scale_T1, hardness)
        self.total.index_add_(0, self.order, combined.loss.sum(1, dtype=torch.float64))
        if self.problem.row_losses_B is not None:  # factor: weight / rows
            self.problem.row_losses_B[rows] += (combined.loss * self.factor_T1).sum(0) * self.num_rows
        if not self.wants_gradient:
            return
        slopes_TPR = torch.stack(combined.slopes, 1) * self.share_T1[..., None]
        at_positive_TR = combined.positive * self.share_T1
        through_TR = at_positive_TR * positive_TR + (slopes_TPR * means_TPR).sum(1)
        if self.learned:
            slope_TR = through_TR / self.scale_T1 + combined.inverse_temperature * self.factor_T1
            self.scale_gradient.index_add_(0, self.order, slope_TR.sum(1, dtype=torch.float64))
        weights_RC = blocks[-1]  # of a view: a slice is moved by its own dim and by all wider ones
        for k in reversed(range(len(blocks))):
            here, level = self.of_level[k], self.levels[k]
            weights_RC = blocks[k] if level.is_last else weights_RC
            self._add_weights(
                k, rows, blocks[k], weights_RC, top_KR[k], sums_TPR[here], slopes_TPR[here], at_positive_TR[here].sum(0)
            )  # fmt: skip
            if (norms := self.row_norms[k]) is not None:
                self._correct(self.left[k], rows, level.dim, through_TR[here].sum(0) * norms[rows].square())
            self._add_products(k, rows, weights_RC)

    def _hide_false_negatives(self, rows: slice, blocks: list[Tensor]) -> Float[Tensor, " R"]:
        """How many negatives are left in each row."""
        counts_R = torch.full_like(self.positives[0, rows], self.num_columns - 1)
        if self.problem.false_negatives is not None:
            at, columns = self.problem.false_negatives.places(rows.start, rows.stop)
            counts_R -= torch.bincount(at, minlength=len(counts_R))
            self.num_masked += len(at)
            for block in blocks:
                block[at, columns] = HIDDEN
        return counts_R

    def _sums(self, rows: slice, blocks: list[Tensor], counts_R: Tensor) -> tuple[Tensor, ...]:
        """What `_sums_kernel` finds: [K, R], and three of [T, P, R]."""
        top_KR = counts_R.new_empty(len(blocks), len(counts_R))
        found = counts_R.new_empty(3, *self.exponents_TP.shape, len(counts_R))
        for k, block in enumerate(blocks):
            exponents = self.exponents_TP[self.of_level[k]]
            _sums_kernel[(len(block),)](
                *self._of_block(k, rows, block), exponents, top_KR[k], *found[:, self.of_level[k]].unbind(), *block.shape,
                NUM=exponents.numel(), PADDED=triton.next_power_of_2(exponents.numel()),
                COLUMNS=min(SUM_COLUMNS, triton.next_power_of_2(block.shape[1])),
            )  # fmt: skip
        for p, power in enumerate(self.problem.hardness.powers):
            if power == 0:  # e^0 counts the hidden places as well
                found[1, :, p] = counts_R.log()
        return top_KR, *found.unbind()

    def _of_block(self, k: int, rows: slice, block: Tensor) -> tuple[Tensor | None, ...]:
        """What both kernels take: products, inverse norms of columns and rows, the positives' columns."""
        return block, self.column_norms[k], self.inverse_rows[k, rows], self.problem.positive_B[rows]

    def _add_weights(
        self, k: int, rows: slice, block: Tensor, weights_RC: Tensor, top_R: Tensor, sums_TPR: Tensor,
        slopes_TPR: Tensor, at_positive_R: Tensor,
    ) -> None:  # fmt: skip
        """Turn the block of a view's widest dim into its weights; add to them those of the other dims."""
        exponents, all_dots = self.exponents_TP[self.of_level[k]], self.column_dots[k]
        grid = triton.cdiv(block.shape[1], TILE_COLUMNS), triton.cdiv(block.shape[0], TILE_ROWS)
        dots = None if all_dots is None else self._empty(grid[1], block.shape[1])
        _weights_kernel[grid](
            *self._of_block(k, rows, block), exponents, top_R, sums_TPR, slopes_TPR, at_positive_R, weights_RC, dots,
            *block.shape, NUM=exponents.numel(), ADD=not self.levels[k].is_last, ROWS=TILE_ROWS, COLUMNS=TILE_COLUMNS,
        )  # fmt: skip
        if all_dots is not None and dots is not None:
            all_dots += dots.sum(0)


@triton.jit
def _sums_kernel(
    products, inverse_columns, inverse_rows, positive, exponents, top_out, sums_out, logs_out, means_out,
    num_rows, num_columns, NUM: tl.constexpr, PADDED: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Statistics of a row's negatives: the largest cosine over the row's own norm, `top`; `sum e^(exponent (cosine - top))`; its log

    without `top`; and the mean cosine that these powers weigh.
    """
    row = tl.program_id(0).to(tl.int64)
    products += row * num_columns
    own, inverse = tl.load(positive + row), tl.load(inverse_rows + row)
    best = tl.full([COLUMNS], _HIDDEN, products.dtype.element_ty)
    for low in range(0, num_columns, COLUMNS):
        columns = low + tl.arange(0, COLUMNS)
        best = tl.maximum(best, _negatives(products, inverse_columns, columns, num_columns, own))
    top = tl.max(best, 0)
    top = tl.where(top > _HIDDEN / 2, top, 0.0)  # a row without negatives: its sums are 0
    places = tl.arange(0, PADDED)
    scales = tl.load(exponents + places, places < NUM, 0.0) * inverse
    sums = tl.zeros([PADDED, COLUMNS], products.dtype.element_ty)
    means = tl.zeros([PADDED, COLUMNS], products.dtype.element_ty)
    for low in range(0, num_columns, COLUMNS):
        columns = low + tl.arange(0, COLUMNS)
        below = _negatives(products, inverse_columns, columns, num_columns, own) - top
        e = tl.exp(below[None, :] * scales[:, None])
        sums += e
        means += e * below[None, :]
    total = tl.sum(sums, 1)
    mean = tl.where(total > 0, tl.sum(means, 1) / total + top, 0.0) * inverse
    tl.store(top_out + row, top)
    tl.store(sums_out + places * num_rows + row, total, places < NUM)
    tl.store(logs_out + places * num_rows + row, tl.log(total) + top * scales, places < NUM)
    tl.store(means_out + places * num_rows + row, mean, places < NUM)


@triton.jit
def _negatives(products, inverse_columns, columns, num_columns, own):
    """Cosines over the row's own norm, HIDDEN where there is no negative."""
    inside = columns < num_columns
    cosines = tl.load(products + columns, inside, 0.0)
    if inverse_columns is not None:
        cosines *= tl.load(inverse_columns + columns, inside, 0.0)
    return tl.where(inside & (columns != own), tl.maximum(cosines, _HIDDEN), _HIDDEN)


@triton.jit
def _weights_kernel(
    products, inverse_columns, inverse_rows, positive, exponents, top, sums, slopes, at_positive, weights, dots,
    num_rows, num_columns, NUM: tl.constexpr, ADD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile of d objective / d product; the tile's sums of d objective / d cosine x cosine over its rows."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    has_column, has_row = columns < num_columns, rows < num_rows
    inside = has_row[:, None] & has_column[None, :]
    places = rows[:, None].to(tl.int64) * num_columns + columns[None, :]
    cosines = tl.load(products + places, inside, 0.0)
    inverse = tl.load(inverse_rows + rows, has_row, 0.0)
    if inverse_columns is not None:
        of_columns = tl.load(inverse_columns + columns, has_column, 0.0)[None, :]
        cosines = tl.maximum(cosines * of_columns, _HIDDEN)
    below = cosines - tl.load(top + rows, has_row, 0.0)[:, None]
    found = tl.zeros([ROWS, COLUMNS], products.dtype.element_ty)
    for i in tl.static_range(NUM):
        total = tl.load(sums + i * num_rows + rows, has_row, 0.0)
        share = tl.where(total > 0, tl.load(slopes + i * num_rows + rows, has_row, 0.0) / total, 0.0)
        found += share[:, None] * tl.exp(below * (tl.load(exponents + i) * inverse)[:, None])
    is_own = columns[None, :] == tl.load(positive + rows, has_row, -1)[:, None]
    found = tl.where(is_own, tl.load(at_positive + rows, has_row, 0.0)[:, None], found) * inverse[:, None]
    if inverse_columns is not None:
        part = tl.sum(tl.where(inside, found * cosines, 0.0), 0)
        tl.store(dots + tl.program_id(1) * num_columns + columns, part, has_column)
        found *= of_columns
    if ADD:
        found += tl.load(weights + places, inside, 0.0)
    tl.store(weights + places, found, inside)
