"""A contrastive training run as one frozen value; the command line of every entry point is made from it."""

from dataclasses import dataclass, field

from tempembed.encoders.from_scratch import FROM_SCRATCH
from tempembed.encoders.masked_shapes import is_from_here
from tempembed.settings.batches import BatchSettings
from tempembed.settings.data import DataSettings
from tempembed.settings.flat import RunSettings
from tempembed.settings.loop import LoopSettings
from tempembed.settings.lora import LoraSettings
from tempembed.settings.loss import LossSettings
from tempembed.settings.model import ModelSettings
from tempembed.settings.optimizer import OptimizerSettings
from tempembed.system.errors import UserError

TABLE_LEARNING_RATE, SCRATCH_LEARNING_RATE, PRETRAINED_LEARNING_RATE = 0.01, 5e-4, 2e-5
"""Peaks for a static table (new or loaded), a transformer from scratch, a loaded one."""
PRETRAINED_HERE_LEARNING_RATE = 2e-4
"""Peak for a transformer that `tempembed pretrain` made: it has seen less text than a published one."""
CONVOLUTION_LEARNING_RATE = 2e-3
"""Peak for a convolution tower from scratch."""
LORA_LEARNING_RATE = 2e-4
"""Ten times that of all weights (Schulman et al. 2025, LoRA without regret)."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """What to train, on what, how. A part of the code takes the group that it needs."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    batches: BatchSettings = field(default_factory=BatchSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if self.lora.lora_rank and self.model.own_encoder:
            raise UserError(
                f"--lora-rank: expected a loaded model, got {self.model.encoder}, whose own weights have learned nothing yet; leave "
                "--lora-rank out"
            )
        if self.optimizer.freeze_layers is not None and self.model.encoder in FROM_SCRATCH:
            raise UserError(
                f"--freeze-layers: expected a loaded model, got {self.model.encoder}, whose layers have learned nothing yet; "
                "leave --freeze-layers out"
            )

    @property
    def chooses(self) -> bool:
        """Whether the run chooses something by dev pairs: its checkpoint, or its temperature."""
        return self.loop.goal is not None or self.loss.tau == "auto"

    def peak_learning_rate(self, *, is_table: bool) -> float:
        """The peak learning rate, of an encoder that is a static table or a transformer."""
        if self.lora.lora_rank:
            return self.optimizer.learning_rate or LORA_LEARNING_RATE
        usual = PRETRAINED_LEARNING_RATE
        if self.model.own_encoder:
            usual = SCRATCH_LEARNING_RATE
        elif is_from_here(self.model.encoder):
            usual = PRETRAINED_HERE_LEARNING_RATE
        return self.optimizer.learning_rate or (TABLE_LEARNING_RATE if is_table else usual)

    @property
    def peak_image_learning_rate(self) -> float:
        """The peak learning rate of the encoder of pictures."""
        usual = CONVOLUTION_LEARNING_RATE if self.model.own_image_encoder else PRETRAINED_LEARNING_RATE
        return self.optimizer.image_learning_rate or usual
