"""Settings of the optimiser and its schedule."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from tempembed.settings.flat import NotNegative, Positive, check_ranges
from tempembed.system.errors import UserError

ScheduleName = Literal["linear", "cosine", "wsd", "constant"]
DECAY_SHARE = 0.2
"""Of the steps, by default, in which wsd's rate falls."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The optimiser and its schedule."""

    learning_rate: Annotated[float | None, Positive] = None
    """Peak of the schedule; default 0.01 for a static table, new or loaded, 5e-4 for transformer, 2e-5 for a loaded one,
    2e-4 with --lora-rank."""
    image_learning_rate: Annotated[float | None, Positive] = None
    """The same for the encoder of pictures; default 2e-3 for convolution, 2e-5 for a loaded one."""
    schedule: ScheduleName = "linear"
    """How the learning rate moves after the warm-up: linear or cosine fall to zero; wsd (warm-up, stable, decay) stays at the peak
    and falls in the last steps (--decay-share); constant stays there."""
    warmup: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Share of the steps with a rising learning rate."""
    warmup_steps: Annotated[int | None, NotNegative] = None
    """Number of these steps, in place of the share."""
    decay_share: Annotated[float | None, Interval(gt=0, le=1)] = None
    """With --schedule wsd: share of the steps in which the rate falls, as 1 - sqrt; default 0.2."""
    weight_decay: Annotated[float, NotNegative] = 0.01
    """AdamW's decoupled weight decay."""
    decayed: Literal["all", "matrices"] = "all"
    """What weight decay is for; matrices: not for biases and norms, as in BERT's recipe."""
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """The peak learning rate of a layer, as a share of that of the layer above it; embeddings have the lowest."""
    freeze_layers: Annotated[int | None, NotNegative] = None
    """Leave the embeddings and the first so many layers of a loaded transformer as they are; 0: the embeddings only."""
    max_grad_norm: Annotated[float, NotNegative] = 1.0
    """Gradients are scaled down to this norm; 0 turns clipping off."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.decay_share is not None and self.schedule != "wsd":
            raise UserError(
                f"--decay-share: expected --schedule wsd, whose decay it is, got {self.schedule}; leave --decay-share out"
            )
