"""Which rows a step trains on: a function of (seed, epoch, position) alone, so resuming costs nothing."""

from dataclasses import dataclass

import numpy as np

from tempembed.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Global batches over `num_rows` rows; the rest of an epoch that fills no batch is left out."""

    num_rows: int
    global_batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_rows < self.global_batch_size:
            raise UserError(
                f"expected at least one batch of {self.global_batch_size} pairs, got {self.num_rows} pairs: "
                f"lower --batch-size to {self.num_rows} or less, or give more data"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.num_rows // self.global_batch_size

    def order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of all rows, int64."""
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.num_rows)

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Row numbers of this rank's part of step `step` (from 0): contiguous slices of the global batch."""
        if self.global_batch_size % world_size:
            raise UserError(
                f"expected --batch-size to be a multiple of the {world_size} workers, "
                f"got {self.global_batch_size}: each worker takes the same number of rows"
            )
        epoch, position = divmod(step, self.steps_per_epoch)
        local = self.global_batch_size // world_size
        start = position * self.global_batch_size + rank * local
        return self._cached_order(epoch)[start : start + local]

    def _cached_order(self, epoch: int) -> np.ndarray:
        cached = self.__dict__.get("_cache")
        if cached is None or cached[0] != epoch:
            cached = (epoch, self.order(epoch))
            object.__setattr__(self, "_cache", cached)  # frozen: a memo, not state
        return cached[1]
