"""The step that `tempembed plan` plans."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models

from tempembed.encoders.text import TextEncoder
from tempembed.encoders.tokenizer import END, MASK, PAD, START, UNKNOWN
from tempembed.settings.flat import flag
from tempembed.settings.train import TrainSettings
from tempembed.stages.initial_encoder import build_encoder
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Request:
    """A step to plan; the names are those of `tempembed plan`."""

    encoder: str
    width: int | None
    layers: int
    vocabulary: int
    tokens: int
    """Tokens of an average text."""
    batch_size: int
    """Global batch, in pairs."""
    num_workers: int
    hard_negatives: int
    objective: str
    terms: tuple[str, ...]
    direction: str
    micro_batch_tokens: int
    network_gb_per_second: float

    def __post_init__(self) -> None:
        for name in ("tokens", "num_workers", "network_gb_per_second"):
            if not getattr(self, name) > 0:
                raise UserError(f"{flag(name)}: expected > 0, got {getattr(self, name)}")
        if self.vocabulary < 6:
            raise UserError(f"--vocabulary: expected >= 6, five of them are not words, got {self.vocabulary}")
        if self.batch_size % self.num_workers or self.hard_negatives < 0:
            raise UserError(
                f"--batch-size, --hard-negatives: expected a multiple of the {self.num_workers} workers and 0 or more, "
                f"got {self.batch_size} and {self.hard_negatives}"
            )

    @property
    def settings(self) -> TrainSettings:
        """Settings of a training run with this step; checks what is left."""
        return TrainSettings.of(
            encoder=self.encoder, width=self.width, layers=self.layers, vocabulary=self.vocabulary,
            max_tokens=max(self.tokens, 8), objective=self.objective, terms=self.terms, batch_size=self.batch_size,
            micro_batch_tokens=self.micro_batch_tokens, direction=self.direction,
        )  # fmt: skip

    @property
    def rows(self) -> int:
        """Queries of a worker."""
        return self.batch_size // self.num_workers

    @property
    def texts(self) -> int:
        """Texts that a worker encodes."""
        return self.rows * (2 + self.hard_negatives)

    @property
    def columns(self) -> int:
        """Candidates of a query."""
        return self.batch_size * (1 + self.hard_negatives)

    def model(self) -> TextEncoder:
        """The encoder on this worker's device, with random weights if it is made here."""
        encoder = build_encoder(self.settings, word_tokenizer(self.vocabulary))
        if not isinstance(encoder, TextEncoder):
            raise UserError(
                f"--encoder {self.encoder}: expected one encoder for all texts, got a Router; plan its towers one by one"
            )
        return encoder.to("cuda" if torch.cuda.is_available() else "cpu")


def word_tokenizer(vocabulary: int) -> Tokenizer:
    """Any tokenizer with so many tokens: a plan has no texts."""
    names = [PAD, UNKNOWN, START, END, MASK, *(f"w{i}" for i in range(vocabulary - 5))]
    return Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
