"""Settings of a batch: how many rows, from where, and how they go through the encoder."""

from dataclasses import dataclass
from typing import Annotated

from tempembed.settings.flat import NotNegative, Positive, check_ranges
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How many rows a batch has, from where, and how they go through the encoder."""

    batch_size: Annotated[int, Positive] = 512
    """Global batch: pairs per step over all workers. Every other document in it is a negative."""
    single_source: bool = False
    """Fill each batch from one file of a --data folder, so that a negative is never told by its source."""
    micro_batch_tokens: Annotated[int, NotNegative] = 0
    """Tokens that a transformer takes at once, texts of like length together; where texts are padded (on a GPU), padding counts.
    0: 2,048 on a CPU, whose caches hold that, 32,768 on a GPU; with --gradient-cache 262,144 for static."""
    gradient_cache: bool = False
    """Hold the activations of one micro-batch only: any batch whose embeddings fit, for one more forward."""

    gradient_checkpointing: bool = False
    """Keep the input of each layer of a transformer only, and compute the layer again in the backward: a larger micro-batch in
    the same memory, for one more forward."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.batch_size < 2:
            raise UserError("--batch-size: expected at least 2, so that there is a negative, got 1")
