"""Which rows a step trains on: a function of (seed, epoch, position) alone, so resuming costs nothing.

Rows of weighted sources are drawn as often as their weights say. An epoch is then as many rows as the sources have together, less
what fills no batch; a source has its share of them, and goes on in the next epoch where it ended in this one: each of its rows is
drawn before any is drawn again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tempembed.inputs.mixture import Stream, by_source, mixed
from tempembed.system.errors import UserError

ROUNDS = 12
LOOKUPS = 400_000  # places a round may try


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Global batches in which no text comes twice; the rest of an epoch that fills no batch is left out.

    Every row of a batch is a negative of the others, so a text that comes twice, in whatever role, would be its own
    negative. Where the data leaves no choice (a text with more rows than there are batches), copies stay in a batch and
    are counted by `repeats`; the loss masks them.
    """

    num_rows: int
    global_batch_size: int
    seed: int
    ids: tuple[np.ndarray, ...] = ()
    """Per space of ids, those of each row's texts, [rows] or [roles, rows]: no two rows of a batch share one."""
    sources: np.ndarray | None = None
    """Integer for each row, from 0."""
    single_source: bool = False
    """Whether all rows of a global batch are of one source."""
    shares: tuple[float, ...] = ()
    """Of each source among the rows that are drawn; they sum to 1. (): a source is drawn as it is, each row once an epoch."""

    def __post_init__(self) -> None:
        if self.shares and self.single_source:
            smallest = min(len(part) for part, share in zip(self._parts, self.shares, strict=True) if share)
            if smallest < self.global_batch_size:
                raise UserError(
                    f"expected at least one batch of {self.global_batch_size} pairs from each source, got one with {smallest} pairs: "
                    "lower --batch-size, leave out --single-source, or give more data"
                )
        if not self.steps_per_epoch:
            raise UserError(
                f"expected at least one batch of {self.global_batch_size} pairs"
                f"{' from one source' if self.single_source and self.sources is not None else ''}, got "
                f"{max(map(len, self._parts))} pairs: lower --batch-size, or give more data"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        if self.shares:
            return self.num_rows // self.global_batch_size
        return int(self._steps_of_parts.sum())

    @property
    def rows_per_epoch(self) -> int:
        """Rows that an epoch trains on."""
        return self.steps_per_epoch * self.global_batch_size

    def order(self, epoch: int) -> np.ndarray:
        """The rows of the epoch's batches, one batch after the other, int64 [rows_per_epoch]."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.shares:
            return self._drawn(epoch, generator)
        batches = []
        for part, steps in zip(self._parts, self._steps_of_parts, strict=True):
            order = part[generator.permutation(len(part))]
            _spread_repeats(order, self._codes, self.global_batch_size, int(steps), generator)
            batches.append(order[: steps * self.global_batch_size].reshape(steps, self.global_batch_size))
        if len(batches) == 1:
            return batches[0].reshape(-1)
        return generator.permutation(np.concatenate(batches)).reshape(-1)

    def repeats(self, epoch: int) -> int:
        """Rows of the epoch that share a text with an earlier row of their batch."""
        order = self._cached_order(epoch)
        codes = [*self._codes, *self._drawn_again(order)]
        return len(_repeats(order, codes, self.global_batch_size, self.steps_per_epoch)[0])

    def _drawn(self, epoch: int, generator: np.random.Generator) -> np.ndarray:
        """The epoch's rows of weighted sources."""
        size, steps = self.global_batch_size, self.steps_per_epoch
        draw = by_source if self.single_source else mixed
        batches = draw(self._streams, self.shares, epoch * steps * size, steps, size)
        order = generator.permuted(batches, axis=1).reshape(-1)
        codes = [*self._codes, *self._drawn_again(order)]
        if not self.single_source:  # rows of like sources change places where that does it
            _spread_repeats(order, codes, size, steps, generator, self.sources)
            _spread_repeats(order, codes, size, steps, generator)
            return order
        sources, at = self.sources[order[::size]], 0  # type: ignore[index]
        for source in np.unique(sources):  # a row goes to no batch of another source
            own = int((sources == source).sum())
            _spread_repeats(order[at : at + own * size], codes, size, own, generator)
            at += own * size
        return generator.permutation(order.reshape(steps, size)).reshape(-1)

    def _drawn_again(self, order: np.ndarray) -> list[np.ndarray]:
        """A group of codes by which a row that is drawn twice is found; none where no row is."""
        if not self.shares or (times := np.bincount(order, minlength=self.num_rows)).max() < 2:
            return []
        return [np.where(times > 1, np.arange(self.num_rows), -1)[:, None]]

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

    @cached_property
    def _parts(self) -> list[np.ndarray]:
        """The rows that may share a batch."""
        rows = np.arange(self.num_rows)
        if self.sources is None or not (self.single_source or self.shares):
            return [rows]
        numbers = range(len(self.shares)) if self.shares else np.unique(self.sources)
        return [rows[self.sources == number] for number in numbers]

    @cached_property
    def _streams(self) -> list[Stream]:
        return [Stream(rows=part, seed=self.seed, number=number) for number, part in enumerate(self._parts)]

    @cached_property
    def _steps_of_parts(self) -> np.ndarray:
        return np.array([len(part) // self.global_batch_size for part in self._parts])

    @cached_property
    def _codes(self) -> list[np.ndarray]:
        """Groups of [rows, roles]: a small number for each text that comes again, -1 for the others."""
        return [group for ids in self.ids for group in _codes(np.atleast_2d(ids))]


def _codes(ids: np.ndarray) -> list[np.ndarray]:
    """Codes of ids [roles, rows]; a row's second mention of a text counts as none.

    Roles that share no text are a group each, for fewer keys are found sooner; one in which no text comes again is none.
    """
    ordered = np.sort(ids, axis=None)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    if not len(repeated):
        return []
    repeated = repeated[np.append(True, repeated[1:] != repeated[:-1])]
    columns: list[np.ndarray] = []
    has = np.zeros((len(ids), len(repeated)), bool)
    for role, column in enumerate(ids):
        code = np.minimum(np.searchsorted(repeated, column), len(repeated) - 1).astype(np.int32)
        code[repeated[code] != column] = -1
        for before in columns:
            code[code == before] = -1
        has[role, code[code >= 0]] = True
        columns.append(code)
    if (has.sum(0) > 1).any():
        return [np.stack(columns, axis=1)]
    return [column[:, None] for column, found in zip(columns, has, strict=True) if found.any()]


def _repeats(
    order: np.ndarray, codes: Sequence[np.ndarray], batch: int, steps: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Positions whose row shares a text with an earlier one of its batch; per space, the sorted batch-and-text keys."""
    found, all_keys = [], []
    for code in codes:
        of_places = code[order[: steps * batch]].reshape(-1)
        places = np.flatnonzero(of_places >= 0)
        positions = places // code.shape[1]
        keys = _keys(positions // batch, of_places[places])
        by_key = np.argsort(keys, kind="stable")
        keys = keys[by_key]
        found.append(positions[by_key[1:]][keys[1:] == keys[:-1]])
        all_keys.append(keys)
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64), all_keys


def _keys(batches: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return batches * np.int64(2**32) + codes


def _spread_repeats(
    order: np.ndarray,
    codes: Sequence[np.ndarray],
    batch: int,
    steps: int,
    generator: np.random.Generator,
    sources: np.ndarray | None = None,
) -> None:
    """Swap, in place, rows that repeat a text of their batch with random rows of other batches, until none is left.

    With the source of each row, those of one source.
    """
    fewest = len(order)
    for _ in range(ROUNDS):
        repeats, keys = _repeats(order, codes, batch, steps)
        if not len(repeats) or len(repeats) > 0.98 * fewest:
            return
        fewest = len(repeats)
        tries = int(np.clip(LOOKUPS // len(repeats), 1, 32))
        places = generator.integers(0, len(order), (len(repeats), tries))
        # `keys` has the batches' texts as they are now; what two swaps of a round do to each other, the next sees
        fits = places // batch != (repeats // batch)[:, None]
        if sources is not None:
            fits &= sources[order[places]] == sources[order[repeats]][:, None]
        for code, present in zip(codes, keys, strict=True):
            for role in range(code.shape[1]):
                ours, theirs = code[order[repeats], role][:, None], code[order[places], role]
                fits &= (
                    (ours < 0) | (places >= steps * batch) | ~_contains(present, _keys(places // batch, ours))
                )
                fits &= (theirs < 0) | ~_contains(present, _keys((repeats // batch)[:, None], theirs))
        chosen = fits.argmax(1)
        swaps = np.flatnonzero(fits.any(1))
        here, there = repeats[swaps], places[swaps, chosen[swaps]]
        _, first = np.unique(there, return_index=True)
        first = first[~np.isin(there[first], here)]
        here, there = here[first], there[first]
        order[here], order[there] = order[there], order[here]


def _contains(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(wanted.shape, bool)
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return ordered[place] == wanted
