"""Batches that grow at the start of a run, of rows in an endless shuffled stream: a function of (seed, epoch, position) alone."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tempembed.system.errors import UserError

ORDER = 3
"""What a stream of random words is for (`inputs.masking` has others)."""
FIRST_SHARE = 0.125
"""Of the full batch, in the first step of a warm-up."""


@dataclass(frozen=True, kw_only=True)
class GrowingPlan:
    """Rows pass after pass, each in an order of its own; a batch may have rows of two passes, so none is left out.

    Ranks take neighbouring parts of a batch whose sizes differ by one row at most.
    """

    num_rows: int
    global_batch_size: int
    """Rows of a batch after the warm-up."""
    warmup_steps: int = 0
    """Steps over which batches grow, from an eighth."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_rows < self.global_batch_size:
            raise UserError(
                f"--batch-tokens: expected at least one batch of {self.global_batch_size} sequences, got text for "
                f"{self.num_rows}: lower --batch-tokens, or give more text"
            )

    @cached_property
    def _warmup_sizes(self) -> np.ndarray:
        share = np.linspace(FIRST_SHARE, 1, self.warmup_steps, endpoint=False)
        return np.maximum(1, np.rint(share * self.global_batch_size)).astype(np.int64)

    def size(self, step: int) -> int:
        """Rows of a step over all ranks."""
        return int(self._warmup_sizes[step]) if step < self.warmup_steps else self.global_batch_size

    def start(self, step: int) -> int:
        """Rows of all steps before this one."""
        growing = min(step, self.warmup_steps)
        return int(self._warmup_sizes[:growing].sum()) + (step - growing) * self.global_batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in a pass."""
        return max(1, self.num_rows // self.global_batch_size)

    def part(self, step: int, rank: int = 0, world_size: int = 1) -> tuple[int, int]:
        """Where this rank's rows are in the global batch: the first, and behind the last."""
        size = self.size(step)
        if size < world_size:
            raise UserError(
                f"--batch-tokens: expected at least one sequence for each of the {world_size} workers, got {size} at step {step + 1}: "
                "raise --batch-tokens, or leave --batch-warmup out"
            )
        return size * rank // world_size, size * (rank + 1) // world_size

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Row numbers of this rank's part of a step."""
        begin, end = self.part(step, rank, world_size)
        first, found = self.start(step), []
        begin, end = first + begin, first + end
        while begin < end:
            epoch, position = divmod(begin, self.num_rows)
            took = min(end - begin, self.num_rows - position)
            found.append(self._order(epoch)[position : position + took])
            begin += took
        return np.concatenate(found)

    def _order(self, epoch: int) -> np.ndarray:
        cached = self.__dict__.get("_cache")
        if cached is None or cached[0] != epoch:
            generator = np.random.Generator(np.random.Philox(key=[self.seed + (ORDER << 40), epoch]))
            cached = (epoch, generator.permutation(self.num_rows))
            object.__setattr__(self, "_cache", cached)  # frozen: a memo, not state
        return cached[1]


def steps_for(rows: float, batch: int, warmup: float) -> tuple[int, int]:
    """Fewest steps that take so many rows, and those of them that warm up, a share of all.

    >>> steps_for(100, 10, 0.0)
    (10, 0)
    """
    steps = max(1, round(rows / batch))
    while True:
        growing = round(warmup * steps)
        if GrowingPlan(num_rows=batch, global_batch_size=batch, warmup_steps=growing).start(steps) >= rows:
            return steps, growing
        steps += max(1, steps // 200)
