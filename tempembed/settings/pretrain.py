"""A run of masked-language-model pre-training as one frozen value; the command line of every entry point is made from it."""

from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Annotated, Literal

from annotated_types import Interval

from tempembed.encoders.masked_shapes import SHAPES
from tempembed.inputs.masking import MaskStyle
from tempembed.settings.flat import NotNegative, Positive, RunSettings, check_ranges
from tempembed.settings.loop import LoopSettings
from tempembed.settings.optimizer import OptimizerSettings
from tempembed.settings.text import TextSettings
from tempembed.system.cache import INSTALLED_TEXT
from tempembed.system.errors import UserError

DEFAULT_TOKENS = 1_000_000
"""Budget of a run that is given none."""
INSTALLED_TOKENS = 10_000_000
"""Of installed-text, by default, for runs that train on no more: reading it takes a minute, tokenising all of it ten."""
CONTINUED_LEARNING_RATE = 5e-5
"""Peak for a model that is loaded."""
EVALUATIONS = 10
"""Of a run, by default."""


@dataclass(frozen=True, kw_only=True)
class MaskedModelSettings:
    """Which model, its length and precision."""

    encoder: str = "modern"
    """modern (small, from scratch: rotary places, norms first, GeGLU; ModernBERT's code with full attention), bert (the same size),
    codesage-small or codesage-base (their sizes), or a local path or hub name of a masked language model to go on from."""
    width: Annotated[int | None, Positive] = None
    """Width of modern and bert; default 256."""
    layers: Annotated[int | None, Positive] = None
    """Layers of modern and bert; default 4."""
    max_tokens: Annotated[int, Interval(ge=8)] = 256
    """Tokens of a sequence, into which documents are packed: longer ones are cut. It is the limit of a model that is made here."""
    head: Literal["tied", "untied"] | None = None
    """Whether the table of input tokens is that of the predicted ones; default: of a model that is made here untied, else its own."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """Pooling of the saved encoder; default mean. A sentence-transformers model keeps its own."""
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Dropout in pre-training; the saved model has that of its configuration."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of products; auto: bfloat16 where that is faster, which is measured at the start. Weights are float32 in both."""

    def __post_init__(self) -> None:
        check_ranges(self)
        shape = SHAPES.get(self.encoder)
        if (shape is None or not shape.is_sized) and (self.width or self.layers):
            name = "width" if self.width else "layers"
            raise UserError(f"--{name}: {self.encoder} has a size of its own; leave --{name} out")
        if shape and self.width and self.width % shape.head_width and self.width > shape.head_width:
            raise UserError(f"--width: expected a multiple of {shape.head_width}, got {self.width}")

    @property
    def is_made_here(self) -> bool:
        """Whether the model is made here, not loaded."""
        return self.encoder in SHAPES


@dataclass(frozen=True, kw_only=True)
class MaskingSettings:
    """The task: which tokens are predicted, how many at once, on what it is measured."""

    mask_share: Annotated[float, Interval(gt=0, lt=1)] = 0.3
    """Share of a sequence's tokens that are to be predicted (Wettig et al. 2023); evaluation is always at 0.15."""
    mask_style: MaskStyle = "mask"
    """mask: each of them becomes the mask token (CodeSage's); bert: 80 % do, 10 % become a random token, 10 % stay."""
    batch_tokens: Annotated[int, Positive] = 16_384
    """Tokens of a step over all workers, in whole sequences."""
    micro_batch_tokens: Annotated[int, NotNegative] = 0
    """Tokens that go through the model at once on one worker; 0: as many as are best. Changes no result but by rounding."""
    batch_warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the steps in which batches grow from an eighth of --batch-tokens."""
    length_warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the steps in which a token sees its neighbours only: texts are cut shorter, from an eighth of --max-tokens."""
    held_out: Annotated[int, NotNegative] = 1000
    """Documents, a twentieth of all at most, that are not trained on: loss, accuracy, spectrum and a retrieval probe are of them."""
    evaluate_every: Annotated[int, NotNegative] = 0
    """Steps between measurements on them; 0: ten in a run."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PretrainLoop:
    """How long a run is, how often it reports and saves."""

    tokens: Annotated[int | None, Positive] = None
    """Tokens to train on, some of them again where the text has fewer; default 1,000,000."""
    steps: Annotated[int | None, Positive] = None
    """Optimiser steps, in place of --tokens. With --schedule wsd a run whose --steps or --tokens grew goes on from before its decay."""
    seed: Annotated[int, NotNegative] = 0
    """Initial weights, data order and masks are functions of it."""
    checkpoint_every: Annotated[int, NotNegative] = 0
    """Steps between checkpoints; 0: ten in a run."""
    checkpoint_minutes: Annotated[float, NotNegative] = 10.0
    """A checkpoint at the first report after so many minutes without one; 0: none by time."""
    log_every: Annotated[int, Positive] = 10
    """Steps between progress reports."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.tokens and self.steps:
            raise UserError("--tokens, --steps: expected one of the two, got both; leave one out")

    def settings(self, num_steps: int) -> LoopSettings:
        """As the loop takes them."""
        every = self.checkpoint_every or max(1, round(num_steps / EVALUATIONS))
        return LoopSettings(
            steps=num_steps, seed=self.seed, checkpoint_every=every, checkpoint_minutes=self.checkpoint_minutes,
            log_every=self.log_every,
        )  # fmt: skip


def default_optimizer() -> OptimizerSettings:
    """AdamW by warm-up, stable, decay, weight decay for matrices."""
    return OptimizerSettings(schedule="wsd", warmup=0.05, weight_decay=0.01, decayed="matrices")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(RunSettings):
    """What to pre-train, on what, how. A part of the code takes the group that it needs."""

    text: TextSettings = field(default_factory=TextSettings)
    model: MaskedModelSettings = field(default_factory=MaskedModelSettings)
    task: MaskingSettings = field(default_factory=MaskingSettings)
    optimizer: OptimizerSettings = field(default_factory=default_optimizer)
    loop: PretrainLoop = field(default_factory=PretrainLoop)

    def __post_init__(self) -> None:
        if self.task.batch_tokens < self.model.max_tokens:
            raise UserError(
                f"--batch-tokens: expected at least one sequence of --max-tokens {self.model.max_tokens}, got {self.task.batch_tokens}"
            )
        if self.optimizer.freeze_layers is not None and self.model.is_made_here:
            raise UserError(
                f"--freeze-layers: expected a loaded model, got {self.model.encoder}, whose layers have learned nothing yet; "
                "leave --freeze-layers out"
            )

    @property
    def batch_sequences(self) -> int:
        """Sequences of a full batch."""
        return self.task.batch_tokens // self.model.max_tokens

    @property
    def wanted_text(self) -> TextSettings:
        """The text, of which a short run prepares a part where it is installed-text."""
        steps = self.loop.steps
        tokens = steps * self.task.batch_tokens if steps else self.loop.tokens or DEFAULT_TOKENS
        is_short = self.text.text == (INSTALLED_TEXT,) and tokens <= INSTALLED_TOKENS
        most = self.text.text_tokens or (INSTALLED_TOKENS if is_short else None)
        return replace(self.text, text_tokens=most)

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate."""
        usual = (
            SHAPES[self.model.encoder].learning_rate if self.model.is_made_here else CONTINUED_LEARNING_RATE
        )
        return self.optimizer.learning_rate or usual

    def facts(self) -> dict[str, str]:
        """What a logged model is, for MLflow's table of models."""
        return {
            "objective": f"masked language modelling, {self.task.mask_share:g} masked", "encoder": self.model.encoder,
            "data": "+".join(PurePath(place).name for place in self.text.text), "batch_tokens": str(self.task.batch_tokens),
            "seed": str(self.loop.seed),
        }  # fmt: skip

    def with_warmup_steps(self, steps: int) -> "PretrainSettings":
        """The learning rate's warm-up as a number of steps."""
        return replace(self, optimizer=replace(self.optimizer, warmup_steps=steps))
