"""Encoders of texts: token ids in."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tempembed.encoders.encoder import Encoder, moved
from tempembed.encoders.role import ROLES, Role
from tempembed.inputs.picture_store import is_picture
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError

TOKENIZE_ROWS = 4096


def padded_inputs(tokens: Tokens, padding: int | None, device: torch.device) -> dict[str, Tensor]:
    """The tensors that a transformer takes: input_ids and attention_mask, int64 [B, L].

    Args:
        tokens: texts.
        padding: id behind the end of a text; None: 0.
        device: takes the tensors.
    """
    lengths = torch.from_numpy(np.diff(tokens.offsets))
    mask = torch.arange(max(1, int(lengths.max()))) < lengths[:, None]
    padded = torch.full(mask.shape, padding or 0)
    padded[mask] = torch.from_numpy(np.ascontiguousarray(tokens.ids)).long()
    return {"input_ids": moved(padded, device), "attention_mask": moved(mask.long(), device)}


def tokenizer_as_text(tokenizer: Any) -> str:
    """A tokenizer as JSON, or as it describes itself; where it cuts and pads is what it was last asked for, and left out."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return repr(tokenizer)
    described = json.loads(backend.to_str())
    return json.dumps({k: v for k, v in described.items() if k not in ("truncation", "padding")})


class TextEncoder(Encoder):
    """Takes `Tokens`."""

    takes_bags = False
    """Whether a text is its distinct tokens and how often each comes (`Tokens.as_bags`)."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Size of the vocabulary."""

    @abstractmethod
    def token_lists(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Ids of each text, cut after `limit` tokens or at the model's own limit, special tokens included."""

    @abstractmethod
    def unpooled(self, prompt: str) -> int:
        """How many tokens pooling leaves out of a text that begins with this prompt."""

    def prepare(self, rows: Sequence[str], role: Role) -> Tokens:
        """Ids of each text of a role: prompt and text, cut, special tokens included.

        Raises:
            UserError: pictures.
        """
        if rows and is_picture(rows[0]):
            raise UserError(
                "expected texts, got pictures: this encoder takes texts only; take one of texts and pictures"
            )
        # a part at a time: the tokenizer's own objects take far more memory than the ids that are kept
        parts = [rows[start : start + TOKENIZE_ROWS] for start in range(0, len(rows), TOKENIZE_ROWS)]
        lists = (self.token_lists([role.prompt + text for text in part], role.max_tokens) for part in parts)
        each = [Tokens.from_lists(ids) for ids in lists] or [Tokens.from_lists([])]
        tokens = Tokens.concatenate([part.as_bags() for part in each] if self.takes_bags else each)
        unpooled = self.unpooled(role.prompt) if role.prompt else 0
        if unpooled:
            tokens = replace(tokens, unpooled=np.full(len(tokens), unpooled, np.int32))
        return tokens

    @property
    def is_table(self) -> bool:  # type: ignore[override]
        """Whether it begins with a static table."""
        return self.takes_bags

    def role_rules(self) -> str:
        """What `prepare` does for each role, and which tokens pooling leaves out."""
        roles = [self.role(name) for name in ROLES]
        rules = [(role, self.unpooled(role.prompt) if role.prompt else 0) for role in roles]
        return f"{self.takes_bags} {self.max_tokens} {rules}"
