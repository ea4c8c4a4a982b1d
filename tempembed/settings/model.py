"""Settings of the encoder: which model, its prompts and limits, the precision of its products."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from tempembed.encoders.from_scratch import FromScratch, from_scratch, is_from_scratch
from tempembed.encoders.role import RoleName, asked
from tempembed.settings.flat import Positive, check_ranges
from tempembed.system.errors import UserError

CONVOLUTION = "convolution"
DEFAULT_SIDE, DEFAULT_PICTURE_WIDTH, DEFAULT_AUGMENT = 32, 256, 0.1
DEFAULT_MAX_TOKENS = 256
"""Limit of the encoders that are made here."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model, its prompts and limits, the precision of its products."""

    encoder: str = "static"
    """static, transformer (small, from scratch), or a local path or hub name of a sentence-transformers or transformers model;
    MODULE:NAME for one of your own."""
    image_encoder: str | None = None
    """Where the data has pictures, what takes them: convolution (the default: small, from scratch), or a local path or hub name of an
    image model of transformers. Not needed where --encoder takes pictures itself, as CLIP-type models do."""
    image_side: Literal[32, 64, 128] | None = None
    """Pixels of a side of the pictures that convolution takes; default 32."""
    augment: Annotated[float | None, Interval(ge=0, lt=1)] = None
    """In training each picture is zoomed and moved at random, by up to this share of its side and half of it; default 0.1."""
    width: Annotated[int | None, Positive] = None
    """Embedding width of static (default 1024) and transformer (default 384); with pictures 256."""
    layers: Annotated[int, Positive] = 4
    """Layers of the transformer from scratch."""
    vocabulary: Annotated[int, Positive] = 8192
    """Tokens of the tokenizer that is trained on the data, for static and transformer."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """Pooling of a plain transformers model, which has none of its own; default mean. sentence-transformers models have their own."""
    query_prompt: str | None = None
    """Put before each query, in training, in every measurement, and by encode_query of the saved model; default: the model's
    own, by sentence-transformers' rules."""
    document_prompt: str | None = None
    """The same for documents and encode_document."""
    max_tokens: Annotated[int | None, Positive] = None
    """In training, texts are cut after so many tokens, prompt included; default: the model's own limit. For static and
    transformer it is the model's limit, 256 by default."""
    max_query_tokens: Annotated[int | None, Positive] = None
    """The same for queries only; default --max-tokens."""
    max_document_tokens: Annotated[int | None, Positive] = None
    """The same for documents only; default --max-tokens."""
    save_max_tokens: bool = False
    """Make --max-tokens the limit of a loaded model; without it the saved model keeps its own."""
    save_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type of the saved weights. Training is in float32, whatever the model was stored in."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's products in training; auto: bfloat16 on a GPU that has it and on a CPU that multiplies faster in
    it, which is measured at the start, else float32. Weights are float32 in both."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.own_encoder and self.width is not None:
            raise UserError(
                f"--width: {self.encoder} has a width of its own; leave --width out, "
                "or train on a prefix with --terms"
            )
        if self.own_encoder and self.pooling:
            raise UserError(f"--pooling: {self.encoder} has a pooling of its own; leave --pooling out")
        if self.image_side and not self.own_image_encoder:
            raise UserError(
                f"--image-side: {self.image_encoder} takes pictures of a size of its own; leave --image-side out"
            )
        if self.save_max_tokens and self.max_tokens is None:
            raise UserError(
                "--save-max-tokens: expected --max-tokens, the limit that is saved, got none; add it"
            )

    @property
    def made_here(self) -> FromScratch | None:
        """How the encoder is made, if it is made here (static, transformer) and not loaded."""
        return from_scratch(self.encoder)

    @property
    def own_encoder(self) -> bool:
        """Whether the encoder is made here, not loaded."""
        return is_from_scratch(self.encoder)

    @property
    def is_about_pictures(self) -> bool:
        """Whether a setting that counts for pictures only is given."""
        return not (self.image_encoder is None and self.image_side is None and self.augment is None)

    @property
    def own_image_encoder(self) -> bool:
        """Whether the encoder of pictures is made here, not loaded."""
        return self.image_encoder in (None, CONVOLUTION)

    @property
    def prompts(self) -> dict[RoleName, str]:
        """Prompts that are asked for, by role."""
        return asked(self.query_prompt, self.document_prompt)

    @property
    def limits(self) -> dict[RoleName, int]:
        """Where texts of a role are cut in training, if not at the model's own limit."""
        return asked(self.max_query_tokens or self.max_tokens, self.max_document_tokens or self.max_tokens)
