"""Settings of the optimiser and its schedule."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from tempembed.settings.flat import NotNegative, Positive, check_ranges


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The optimiser and its schedule."""

    learning_rate: Annotated[float | None, Positive] = None
    """Peak of the schedule; default 0.01 for a static table, new or loaded, 5e-4 for transformer, 2e-5 for a loaded one."""
    warmup: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Share of the steps with a rising learning rate; it then falls linearly to zero."""
    weight_decay: Annotated[float, NotNegative] = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, NotNegative] = 1.0
    """Gradients are scaled down to this norm; 0 turns clipping off."""

    def __post_init__(self) -> None:
        check_ranges(self)
