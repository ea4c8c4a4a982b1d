"""Settings of a low-rank adapter (LoRA)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from tempembed.settings.flat import Positive, check_ranges
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A low-rank adapter: what is trained beside a loaded transformer, whose own weights stay."""

    lora_rank: Annotated[int | None, Positive] = None
    """Train an adapter of this rank (LoRA) in place of the weights of a loaded transformer; 8 to 64 are usual. An --encoder that is
    an adapter is trained on; without this flag it is merged into its base first, and all is trained."""
    lora_alpha: Annotated[float | None, Positive] = None
    """The adapter's scale, times 1 / rank; default twice the rank."""
    lora_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Dropout of the adapter's inputs."""
    lora_targets: tuple[str, ...] = ()
    """Names of the linear modules that are adapted, as query value; default: all in the layers."""

    def __post_init__(self) -> None:
        check_ranges(self)
        given = {
            "--lora-alpha": self.lora_alpha,
            "--lora-dropout": self.lora_dropout,
            "--lora-targets": self.lora_targets,
        }
        if self.lora_rank is None and (ignored := [name for name, value in given.items() if value]):
            raise UserError(
                f"{ignored[0]}: expected --lora-rank, which asks for an adapter, got none; add it"
            )
