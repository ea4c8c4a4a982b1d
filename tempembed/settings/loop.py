"""Settings of the loop: how long, how often it reports and saves."""

from dataclasses import dataclass
from typing import Annotated

from tempembed.settings.flat import NotNegative, Positive, check_ranges
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long a run is, how often it reports and saves."""

    epochs: Annotated[float, Positive] = 2.0
    """Passes over the data, unless --steps is given."""
    steps: Annotated[int | None, Positive] = None
    """Optimiser steps."""
    seed: Annotated[int, NotNegative] = 0
    """Initial weights, data order and dropout are functions of it."""
    checkpoint_every: Annotated[int, NotNegative] = 0
    """Steps between checkpoints; 0: after every epoch."""
    checkpoint_minutes: Annotated[float, NotNegative] = 0.0
    """A checkpoint also at the first report after so many minutes without one; 0: none by time."""
    log_every: Annotated[int, Positive] = 10
    """Steps between progress reports."""
    goal: str | None = None
    """What the best checkpoint is chosen by, on the dev pairs (--dev-data, --dev-hold-out): retrieval or clustering of full
    embeddings, or bytes-N, retrieval by the best cheap codec of N bytes a vector. The best is handed over. Default: the last step is."""
    evaluate_every: Annotated[int, NotNegative] = 0
    """With --goal: steps between measurements on the dev pairs; 0: ten in a run."""
    patience: Annotated[int, NotNegative] = 0
    """With --goal: stop after so many measurements in a row that are no better than the best; 0: never."""

    verdict: bool = True
    """Measure a loaded model before training as well, on what it is measured on at the end (once, it is kept), and say whether it
    became better, by a paired interval, and if it became worse, why."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.goal is None and (self.evaluate_every or self.patience):
            raise UserError(
                "--evaluate-every, --patience: expected --goal, what to measure on the dev pairs, got none; add --goal retrieval"
            )
