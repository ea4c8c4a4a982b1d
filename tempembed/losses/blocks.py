"""One pass over blocks of the similarity matrix: value and gradient of all terms.

A block of rows meets all columns at once, so its sums are complete when it is visited and the gradient is made on the spot: three
products (similarity, gradient of rows, gradient of columns), where a loss that forgets the matrix and makes it again takes
four. Prefix products accumulate over the sorted dims, so all widths of a view cost one full-width product. Only the column
sums of the second direction need a pass of their own.

Shape legend: R rows of a block, K levels (dims of a view), otherwise as in `losses/__init__.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.losses.hardness import Combined, combine
from tempembed.losses.margins import Limits, Seen
from tempembed.losses.masks import FalseNegatives
from tempembed.losses.views import SIDES, Side, levels_of
from tempembed.objectives.margin import Margin
from tempembed.objectives.term import INFONCE, Hardness, Terms
from tempembed.parallel.gather import gather, rank_and_world_size

BLOCK_BYTES = 32 * 2**20
"""Size of a similarity block; there is one for each level. What binds is that rows x width products stay efficient."""
STRIP_BYTES = 4 * 2**20
"""Size of a strip of the block that element-wise work runs over: small enough for the second-level cache."""
GPU_BLOCK_BYTES = 256 * 2**20
"""Both sizes on a GPU, where a kernel must outlast its launch: 32,768 pairs in TF32 took 61 ms on an H200, 78 ms at half."""
GPU_STRIP_BYTES = 32 * 2**20
HIDDEN = -1e30
"""Similarity of a place that is no negative; finite, so that it times a zero weight is zero."""
NOTHING = HIDDEN / 1e10
"""What is less is HIDDEN, over some norm."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything but the tensors that gradients flow to."""

    terms: Terms
    positive_B: Int[Tensor, " B"]
    """The column of each row's positive."""
    num_documents: int
    """G: the first G columns are the positives of the global batch."""
    both: bool = False
    """Also the other direction: each local positive against all rows of the global batch."""
    hardness: Hardness = INFONCE
    false_negatives: FalseNegatives | None = None
    margin: Margin | None = None
    """Candidates that are nearer than this to the row's positive are masked, at all dims as the widest has it."""
    guide: Seen | None = None
    """The same as a second model has it."""
    row_losses_B: Float[Tensor, " B"] | None = None
    """Takes the objective of each row (of the first direction): weight x loss is added, term by term; no gradient."""


class Hidden(NamedTuple):
    """The places of a strip of rows that are no negatives, at any dim."""

    places: tuple[Tensor, Tensor] | None
    """(row, column) by identity, in both directions."""
    rows: Tensor | None
    """Bool [R, C]: by similarity, those by identity among them; in the rows' direction."""
    columns: Tensor | None
    """Bool [R, G]: by similarity, in the other direction."""

    def number(self) -> Tensor | int:
        """How many candidates of the rows are masked."""
        if self.rows is not None:
            return self.rows.sum()
        return len(self.places[0]) if self.places is not None else 0


def block_and_strip(num_rows: int, num_columns: int, size: int, device: str) -> tuple[int, int]:
    """Rows of a block of products, and of the strip of it that element-wise work runs over."""
    block_bytes, strip_bytes = (
        (GPU_BLOCK_BYTES, GPU_STRIP_BYTES) if device == "cuda" else (BLOCK_BYTES, STRIP_BYTES)
    )
    block = min(num_rows, max(32, block_bytes // (num_columns * size)))
    return block, min(block, max(1, strip_bytes // (num_columns * size)))


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """On the device, where it stays: a copy in every step would wait for what the device has to do."""
    return torch.tensor(values, dtype=dtype, device=device)


class Run:
    """One pass: buffers, sums and gradients. Lives for a forward."""

    def __init__(
        self,
        rows_BD: Tensor,
        columns_CD: Tensor,
        scales_T: Tensor,
        problem: Problem,
        needs: Sequence[bool],
    ) -> None:
        self.problem, self.input_dtype = problem, rows_BD.dtype
        self.dtype = torch.promote_types(rows_BD.dtype, torch.float32)
        if rows_BD.device.type == "cpu":  # bf16 products on a CPU round their sums
            rows_BD, columns_CD = rows_BD.to(self.dtype), columns_CD.to(self.dtype)
        self.device, self.num_rows, self.num_columns = rows_BD.device, len(rows_BD), len(columns_CD)
        self.scales_T = scales_T
        self.learned = needs[2]
        self.wants_gradient = any(needs)
        self.widest = max(term.dim for term in problem.terms)
        self.levels = levels_of(problem.terms, () if problem.margin is None else (self.widest,))
        self.terms = [level.terms for level in self.levels]
        self.rows, self.columns = self._side(rows_BD), self._side(columns_CD)
        self.left, self.right = self._seen(self.rows, 0), self._seen(self.columns, 1)
        self.row_norms, self.column_norms = self._inverse_norms(self.left), self._inverse_norms(self.right)
        self.inverse_rows = self._inverse_rows()
        self.positives = self._positives()
        self.limits = self._limits()
        self.num_masked = torch.zeros((), dtype=torch.int64, device=self.device)
        num_terms = len(problem.terms)
        self.total = torch.zeros(num_terms, dtype=torch.float64, device=self.device)
        if self.wants_gradient:
            self.scale_gradient = torch.zeros(num_terms, dtype=torch.float64, device=self.device)
            self.column_dots = [
                None if inverse is None else torch.zeros_like(inverse) for inverse in self.column_norms
            ]
        size = torch.finfo(self.dtype).bits // 8
        self.block_rows, self.strip_rows = block_and_strip(
            self.num_rows, self.num_columns, size, self.device.type
        )
        self.blocks = [self._empty(self.block_rows, self.num_columns) for _ in self.levels]

    @cached_property
    def scales(self) -> list[float]:
        """1 / tau of each term; waits for the device."""
        return self.scales_T.tolist()

    @cached_property
    def cosines(self) -> Tensor:
        """Buffer for the cosines of a strip."""
        return self._empty(self.strip_rows, self.num_columns)

    @cached_property
    def powers(self) -> Tensor:
        """Buffer for e to the logits of one term, of a strip."""
        return self._empty(self.strip_rows, self.num_columns)

    @cached_property
    def whole(self) -> Tensor:
        """Buffer for the cosines of a strip, without masks by similarity."""
        return self._empty(self.strip_rows, self.num_columns)

    def losses(self) -> Tensor:
        """Visit all blocks; each term's mean loss."""
        batch = self.num_rows
        self.column_sides = self._column_sides() if self.problem.both else {}
        for start in range(0, batch, self.block_rows):
            self._visit(slice(start, min(batch, start + self.block_rows)))
        share = 0.5 if self.problem.both else 1.0
        return (self.total * share / batch).to(self.dtype)

    def _visit(self, rows: slice) -> None:
        """Losses and gradients of a block of rows."""
        self._similarities(rows)
        for strip, of_levels in self._strips(rows):
            hidden = self._hidden(strip, of_levels[self.judge])
            self.num_masked += hidden.number()
            for k, block in enumerate(of_levels):
                if self.terms[k]:
                    self._strip(k, strip, block, hidden)
                else:
                    block.zero_()
        if self.wants_gradient:
            self._products_of_gradient(rows)

    def _strips(self, rows: slice) -> Iterator[tuple[slice, list[Tensor]]]:
        """The strips of a block of rows, and their part of the block of each level."""
        for low in range(rows.start, rows.stop, self.strip_rows):
            strip = slice(low, min(rows.stop, low + self.strip_rows))
            yield strip, [block[low - rows.start : strip.stop - rows.start] for block in self.blocks]

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Gradients of rows, columns and scales."""
        if not self.wants_gradient:
            return None, None, None
        for level, side, inverse, dots in zip(
            self.levels, self.right, self.column_norms, self.column_dots, strict=True
        ):
            if inverse is not None and dots is not None:
                self._correct(side, slice(None), level.dim, dots * inverse.square())
        for floats, seen in ((self.rows, self.left), (self.columns, self.right)):
            for side in {id(side): side for side in seen if not side.is_float}.values():
                side.pass_to(floats, self.widest)
        return (
            self._gradient(self.rows).to(self.input_dtype),
            self._gradient(self.columns).to(self.input_dtype),
            self.scale_gradient.to(self.dtype),
        )

    def _correct(self, side: Side, rows: slice, dim: int, dots: Tensor) -> None:
        """What flows through the norms of a prefix of some rows."""
        self._gradient(side)[rows, :dim] -= dots[:, None] * side.values[rows, :dim]

    def _gradient(self, side: Side) -> Tensor:
        assert side.gradient is not None
        return side.gradient

    def _empty(self, rows: int, columns: int) -> Tensor:
        return torch.empty(rows, columns, dtype=self.dtype, device=self.device)

    def _side(self, embeddings: Tensor) -> Side:
        gradient = torch.zeros_like(embeddings, dtype=self.dtype) if self.wants_gradient else None
        return Side(values=embeddings, gradient=gradient)

    def _seen(self, floats: Side, place: int) -> list[Side]:
        """Rows (place 0) or columns (1) as each level has them."""
        kinds = [SIDES[level.view][place] for level in self.levels]
        sides = {kind: floats.seen_as(kind, self.widest) for kind in dict.fromkeys(kinds)}
        return [sides[kind] for kind in kinds]

    def _accumulated(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Of each level's part and those of the smaller dims of its view."""
        views = [level.view for level in self.levels]
        chains = [
            [part for part, of in zip(parts, views, strict=True) if of == view]
            for view in dict.fromkeys(views)
        ]
        return [total for chain in chains for total in torch.stack(chain).cumsum(0)]

    def _inverse_norms(self, seen: Sequence[Side]) -> list[Tensor | None]:
        """Of each level's prefixes. None where they are constants: of signs, and of floats at the widest dim, which is normalised."""
        squares = [
            side.values[:, level.part].to(self.dtype).square().sum(1)
            for level, side in zip(self.levels, seen, strict=True)
        ]
        return [
            None
            if side.is_signs or (side.is_float and level.dim == self.widest)
            else total.clamp_min(1e-24).rsqrt()
            for level, side, total in zip(self.levels, seen, self._accumulated(squares), strict=True)
        ]

    def _inverse_rows(self) -> Float[Tensor, "K B"]:
        """What makes cosines of products, but for the columns' norms: those of the rows, and the constant ones of signs."""
        found = torch.ones(len(self.levels), self.num_rows, dtype=self.dtype, device=self.device)
        for k, (level, norms) in enumerate(zip(self.levels, self.row_norms, strict=True)):
            found[k] *= level.dim ** (-0.5 * (self.left[k].is_signs + self.right[k].is_signs))
            if norms is not None:
                found[k] *= norms
        return found

    def _positives(self) -> Float[Tensor, "K B"]:
        """Cosine of each row with its positive, at each level."""
        own = self.problem.positive_B
        products = [
            (left.values[:, level.part].to(self.dtype) * right.values[own, level.part].to(self.dtype)).sum(1)
            for level, left, right in zip(self.levels, self.left, self.right, strict=True)
        ]
        cosines = torch.stack(self._accumulated(products))
        for k, norms in enumerate(self.column_norms):
            cosines[k] *= self.inverse_rows[k] if norms is None else self.inverse_rows[k] * norms[own]
        return cosines

    def _multiply(self, left: Tensor, right: Tensor, out: Tensor, plus: Tensor | None = None) -> None:
        """Out = left @ right + plus, summed in at least float32."""
        exact = self.rows.values.dtype
        kind: dict[str, Any] = {} if exact == self.dtype else {"out_dtype": self.dtype}
        left, right = left.to(exact), right.to(exact)
        if plus is None:
            torch.mm(left, right, out=out, **kind)
        else:
            torch.addmm(plus, left, right, out=out, **kind)

    def _similarities(self, rows: slice) -> None:
        """Fill `blocks` with prefix products: each dim adds its coordinates to the last."""
        count = rows.stop - rows.start
        for k, level in enumerate(self.levels):
            before = self.blocks[k - 1][:count] if level.before else None
            left, right = self.left[k].values[rows, level.part], self.right[k].values[:, level.part]
            self._multiply(left, right.T, self.blocks[k][:count], before)

    @cached_property
    def judge(self) -> int:
        """The level whose products masks by similarity go by: the widest floats, if there is such a mask."""
        return max((k for k, level in enumerate(self.levels) if level.view == "float"), default=0)

    def _limits(self) -> list[Limits]:
        """What masks by similarity."""
        problem, limits = self.problem, []
        if problem.margin is not None:
            limits.append(Limits(problem.margin.highest(self.positives[self.judge]), None, both=problem.both))
        if (seen := problem.guide) is not None:
            positive_B = (seen.rows_BE * seen.columns_CE[problem.positive_B]).sum(1)
            limits.append(Limits(seen.margin.highest(positive_B), seen, both=problem.both))
        return limits

    def _hidden(self, strip: slice, products: Tensor) -> Hidden:
        """What is no negative of a strip of rows; `products` are their similarities at the widest dim."""
        known = self.problem.false_negatives
        places = None if known is None else known.places(strip.start, strip.stop)
        found = [limits.too_near(strip, products) for limits in self.limits]
        if not found:
            return Hidden(places, None, None)
        local, own = torch.arange(len(products), device=self.device), self.problem.positive_B[strip]
        rows, columns = found[0]
        for other, other_columns in found[1:]:
            rows |= other
            if columns is not None and other_columns is not None:
                columns |= other_columns
        if places is not None:
            rows[places] = True
        rows[local, own] = False
        return Hidden(places, rows, columns)

    def _cosines(self, k: int, strip: slice, block: Tensor, hidden: Hidden) -> Tensor:
        """Similarities over the rows' own norms; HIDDEN where the positive is, and what is none by identity.

        They are in `block` itself where nothing scales them, else in a buffer.
        """
        cosines = block
        if (norms := self.column_norms[k]) is not None:
            cosines = torch.mul(block, norms, out=self.cosines[: len(block)])
        local = torch.arange(len(block), device=self.device)
        cosines[local, self.problem.positive_B[strip]] = HIDDEN
        if hidden.places is not None:
            cosines[hidden.places] = HIDDEN
        return cosines

    def _counts(self, hidden: Hidden, num_rows: int) -> Float[Tensor, " R"]:
        """How many negatives each row of a strip has."""
        counts = torch.full((num_rows,), self.num_columns - 1, dtype=self.dtype, device=self.device)
        if hidden.rows is not None:
            counts -= hidden.rows.sum(1)
        elif hidden.places is not None:
            counts -= torch.bincount(hidden.places[0], minlength=num_rows)
        return counts

    def _strip(self, k: int, strip: slice, block: Tensor, hidden: Hidden) -> None:
        """Losses of a strip of rows at one level; leaves its part of d objective / d product in `block`,

        but for the columns' norms.
        """
        problem, batch = self.problem, self.num_rows
        cosines, counts, whole = (
            self._cosines(k, strip, block, hidden),
            self._counts(hidden, len(block)),
            None,
        )
        if hidden.rows is not None:
            if problem.both:  # whose other direction has other places
                whole = self.whole[: len(block)].copy_(cosines)
            cosines.masked_fill_(hidden.rows, HIDDEN)
        top = cosines.amax(1)
        inverse = self.inverse_rows[k][strip]
        alive = counts > 0
        top = torch.where(alive, top, 0.0)
        positive, columns_of = self.positives[k][strip], problem.positive_B[strip]
        local = torch.arange(len(block), device=self.device)
        cosines = torch.sub(cosines, top[:, None], out=self.cosines[: len(block)])
        weights, written = block if self.wants_gradient else None, False
        at_positive = torch.zeros_like(top)
        share = 0.5 if problem.both else 1.0
        for t in self.terms[k]:
            scale = self.scales[t]
            powers, sums = self.powers[: len(block)], []
            factor = share * problem.terms[t].weight / batch
            pending: list[tuple[float, Tensor]] = []
            for power in problem.hardness.powers:
                torch.mul(cosines, (inverse * (scale * power))[:, None], out=powers)
                total = powers.exp_().sum(1)
                if power == 0:  # e^0 counts the hidden places as well
                    total = counts.clone()
                sums.append(torch.where(alive, total.log() + top * inverse * (scale * power), -torch.inf))
                pending.append((power, total))
            combined = combine(
                positive * scale, tuple(sums), counts, torch.as_tensor(scale), problem.hardness
            )
            self.total[t] += combined.loss.sum(dtype=torch.float64)
            if problem.row_losses_B is not None:
                problem.row_losses_B[strip] += combined.loss * problem.terms[t].weight
            if weights is None:
                continue
            at_positive += combined.positive * (factor * scale)
            through = combined.positive * positive + combined.inverse_temperature
            for (power, total), slope in zip(pending, combined.slopes, strict=True):
                if power == 0:  # beta = 0: the second sum is a count and has no slope
                    continue
                if len(pending) > 1:
                    torch.mul(cosines, (inverse * (scale * power))[:, None], out=powers)
                    powers.exp_()
                part = torch.where(alive, slope / total, 0.0)
                part_of_weights = (part * inverse * (factor * scale))[:, None]
                if written:
                    weights.addcmul_(powers, part_of_weights)
                else:
                    torch.mul(powers, part_of_weights, out=weights)
                written = True
                if self.learned:
                    mean = (powers * cosines).sum(1) + torch.where(alive, top * total, 0.0)
                    through = through + part * inverse * mean
            if self.learned:
                self.scale_gradient[t] += (through * factor).sum(dtype=torch.float64)
        if whole is not None:
            cosines, top = whole, torch.zeros_like(top)
        if problem.both:
            self._other_direction(k, strip, cosines, top, inverse, weights, at_positive, hidden.columns)
        if weights is None:
            return
        weights[local, columns_of] = at_positive * inverse
        if self.row_norms[k] is not None or self.column_norms[k] is not None:
            self._scale_gradient_of_prefix(k, strip, weights, cosines, top, positive, columns_of, local)

    def _scale_gradient_of_prefix(
        self,
        k: int,
        strip: slice,
        weights: Tensor,
        cosines: Tensor,
        top: Tensor,
        positive: Tensor,
        columns_of: Tensor,
        local: Tensor,
    ) -> None:
        """What flows through the norms of the prefix; `weights` have those of the rows in them already."""
        cosines += top[:, None]
        cosines[local, columns_of] = positive / self.inverse_rows[k][strip]
        cosines *= weights
        if (dots := self.column_dots[k]) is not None:
            dots += cosines.sum(0)
        if (norms := self.row_norms[k]) is not None:
            row_dots = cosines.sum(1) * norms[strip].square()
            self._correct(self.left[k], strip, self.levels[k].dim, row_dots)

    def _products_of_gradient(self, rows: slice) -> None:
        """A slice of coordinates is moved by its own dim and by all wider ones of its view."""
        weights = self.blocks[-1]
        for k in reversed(range(len(self.levels))):
            block, norms = self.blocks[k][: rows.stop - rows.start], self.column_norms[k]
            if self.levels[k].is_last:
                weights = block if norms is None else block.mul_(norms)
            elif norms is None:
                weights += block
            else:
                weights.addcmul_(block, norms)
            self._add_products(k, rows, weights)

    def _add_products(self, k: int, rows: slice, weights: Tensor) -> None:
        """The gradients of the k-th slice of coordinates."""
        left, right, part = self.left[k], self.right[k], self.levels[k].part
        weights = weights.to(left.values.dtype)
        row_gradient, column_gradient = self._gradient(left)[rows, part], self._gradient(right)[:, part]
        self._multiply(weights, right.values[:, part], row_gradient, row_gradient)
        self._multiply(weights.T, left.values[rows, part], column_gradient, column_gradient)

    # The other direction: a positive against the rows of all ranks

    def _column_sides(self) -> dict[int, tuple[Combined, list[Tensor]]]:
        """For each term: loss and slopes of every positive column, and its `log sum` for each power, over all ranks."""
        num, powers = self.problem.num_documents, self.problem.hardness.powers
        top = torch.full((len(self.levels), num), HIDDEN, dtype=self.dtype, device=self.device)
        sums = torch.zeros(len(self.scales), len(powers), num, dtype=self.dtype, device=self.device)
        counts = torch.zeros(num, dtype=self.dtype, device=self.device)
        for start in range(0, self.num_rows, self.block_rows):
            rows = slice(start, min(self.num_rows, start + self.block_rows))
            self._similarities(rows)
            for strip, of_levels in self._strips(rows):
                hidden = self._hidden(strip, of_levels[self.judge])
                for k, block in enumerate(of_levels):
                    self._add_to_column_sums(k, strip, block, hidden, top, sums, counts)
        if rank_and_world_size()[1] > 1:
            highest = top.clone()
            dist.all_reduce(highest, dist.ReduceOp.MAX)
            self._rescale(sums, top, highest)
            top = highest
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        positives = gather(self.positives.T).T
        sides = {}
        for k, indices in enumerate(self.terms):
            shift = torch.where(top[k] <= NOTHING, 0.0, top[k])
            for t in indices:
                scale = self.scales[t]
                log_sums = [sums[t, p].log() + shift * (scale * power) for p, power in enumerate(powers)]
                combined = combine(
                    positives[k] * scale,
                    tuple(log_sums),
                    counts,
                    torch.as_tensor(scale),
                    self.problem.hardness,
                )
                sides[t] = combined, [torch.where(torch.isneginf(x), 0.0, x) for x in log_sums]
        return sides

    def _add_to_column_sums(
        self, k: int, strip: slice, block: Tensor, hidden: Hidden, top: Tensor, sums: Tensor, counts: Tensor
    ) -> None:
        num = self.problem.num_documents
        cosines = self._cosines(k, strip, block, hidden)[:, :num]
        if self.row_norms[k] is not None or self.right[k].is_signs:
            cosines.mul_(self.inverse_rows[k][strip, None])
        if hidden.columns is not None:
            cosines.masked_fill_(hidden.columns, HIDDEN)
        if k == 0:
            counts += (cosines > NOTHING).sum(0)
        highest = top.clone()
        highest[k] = torch.maximum(top[k], cosines.amax(0))
        self._rescale(sums, top, highest, only=k)
        top[k] = highest[k]
        cosines -= torch.where(top[k] <= NOTHING, 0.0, top[k])
        powers = self.powers[: len(block), :num]
        for t in self.terms[k]:
            for p, power in enumerate(self.problem.hardness.powers):
                torch.mul(cosines, self.scales[t] * power, out=powers)
                sums[t, p] += powers.exp_().sum(0) if power else (cosines > NOTHING).sum(0)

    def _rescale(self, sums: Tensor, old: Tensor, new: Tensor, only: int | None = None) -> None:
        for k, indices in enumerate(self.terms):
            if only in (None, k):
                for t in indices:
                    for p, power in enumerate(self.problem.hardness.powers):
                        sums[t, p] *= ((old[k] - new[k]) * (self.scales[t] * power)).exp()

    def _other_direction(
        self,
        k: int,
        strip: slice,
        cosines: Tensor,
        top: Tensor,
        inverse: Tensor,
        weights: Tensor | None,
        at_positive: Tensor,
        hidden: Tensor | None,
    ) -> None:
        """Losses of the strip's own positives as queries, and what its rows are to all positives; to some they are `hidden`."""
        own, num = self.problem.positive_B[strip], self.problem.num_documents
        for t in self.terms[k]:
            scale = self.scales[t]
            combined, log_sums = self.column_sides[t]
            self.total[t] += combined.loss[own].sum(dtype=torch.float64)
            if weights is None:
                continue
            factor = 0.5 * self.problem.terms[t].weight / self.num_rows
            at_positive += combined.positive[own] * (factor * scale)
            powers = self.powers[: len(cosines), :num]
            through = combined.positive[own] * self.positives[k][strip] + combined.inverse_temperature[own]
            for power, log_sum, slope in zip(
                self.problem.hardness.powers, log_sums, combined.slopes, strict=True
            ):
                if power == 0:
                    continue
                torch.mul(cosines[:, :num], (inverse * (scale * power))[:, None], out=powers)
                powers.add_((top * inverse * (scale * power))[:, None]).sub_(log_sum).exp_()
                if hidden is not None:
                    powers.masked_fill_(hidden, 0)
                powers.mul_(slope)
                weights[:, :num].addcmul_(powers, (inverse * (factor * scale))[:, None])
                if self.learned:
                    mean = (powers * cosines[:, :num]).sum(1) + top * powers.sum(1)
                    through = through + inverse * mean
            if self.learned:
                self.scale_gradient[t] += (through * factor).sum(dtype=torch.float64)
