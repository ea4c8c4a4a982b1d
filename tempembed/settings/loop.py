"""Settings of the loop: how long, how often it reports and saves."""

from dataclasses import dataclass
from typing import Annotated

from tempembed.settings.flat import NotNegative, Positive, check_ranges


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
    log_every: Annotated[int, Positive] = 10
    """Steps between progress reports."""

    def __post_init__(self) -> None:
        check_ranges(self)
