"""What an encoder is: token ids in, embeddings out. Two kinds: a static table, and any SentenceTransformer."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.encoders.role import ROLES, Prompts, Role, RoleName
from tempembed.inputs.chunks import length_sorted_chunks
from tempembed.inputs.tokens import Tokens

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOKENIZE_ROWS = 4096


class Encoder(nn.Module, ABC):
    """Turns token ids that were made before into embeddings, in a form that sentence-transformers can load."""

    takes_bags = False
    """Whether a text is its distinct tokens and how often each comes (`Tokens.as_bags`)."""
    use_bfloat16 = False
    """Products in bfloat16."""
    prompts: Prompts
    """What is put before a text of a role."""
    limits: Mapping[RoleName, int] = {}
    """Where the texts of a role are cut, if not at the model's own limit."""
    notes: tuple[str, ...] = ()
    """What was decided for the user when the model was loaded, a line each."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Coordinates of an embedding."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Size of the vocabulary."""

    @property
    @abstractmethod
    def max_tokens(self) -> int | None:
        """The model's own limit, at which texts are cut, in tokens; None: it has none."""

    @abstractmethod
    def limit_to(self, max_tokens: int) -> None:
        """Make this the model's own limit, if it is lower."""

    @property
    @abstractmethod
    def micro_batch_tokens(self) -> int:
        """Padded tokens that are best taken at once, measured."""

    @abstractmethod
    def token_lists(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Ids of each text, cut after `limit` tokens or at the model's own limit, special tokens included."""

    @abstractmethod
    def unpooled(self, prompt: str) -> int:
        """How many tokens pooling leaves out of a text that begins with this prompt."""

    @abstractmethod
    def embed_chunk(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """Embeddings of texts that go through the encoder together."""

    @abstractmethod
    def tokenizer_text(self) -> str:
        """All that decides which ids a text has."""

    @abstractmethod
    def sentence_transformer(self) -> "SentenceTransformer":
        """The same model for the library; it shares the weights."""

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder that `SentenceTransformer(folder)` loads, with weights of this type; its roles have their prompts."""

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    def role(self, name: RoleName, prompt: str | None = None) -> Role:
        """How the texts of a role are embedded; with another prompt, if one is given."""
        own = self.prompts.of_role(name) if prompt is None else prompt
        return Role(name=name, prompt=own, max_tokens=self.limits.get(name))

    def tokenize(self, texts: Sequence[str], role: Role) -> Tokens:
        """Ids of each text of a role: prompt and text, cut, special tokens included."""
        # a part at a time: the tokenizer's own objects take far more memory than the ids that are kept
        parts = [texts[start : start + TOKENIZE_ROWS] for start in range(0, len(texts), TOKENIZE_ROWS)]
        lists = (self.token_lists([role.prompt + text for text in part], role.max_tokens) for part in parts)
        each = [Tokens.from_lists(ids) for ids in lists]
        tokens = Tokens.concatenate([part.as_bags() for part in each] if self.takes_bags else each)
        unpooled = self.unpooled(role.prompt) if role.prompt else 0
        if unpooled:
            tokens = replace(tokens, unpooled=np.full(len(tokens), unpooled, np.int32))
        return tokens

    def chunks(self, tokens: Tokens, budget: int, *, split: bool = False) -> list[np.ndarray]:
        """The rows of the texts that go through the encoder together.

        Args:
            tokens: the texts.
            budget: padded tokens of a chunk.
            split: keep to the budget even where that saves nothing but memory.
        """
        if self.takes_bags and not split:  # one look-up for all: its gradient is as large as the table
            return [np.arange(len(tokens))]
        return length_sorted_chunks(np.diff(tokens.offsets), budget)

    def forward(self, chunks: Sequence[Tokens]) -> Float[Tensor, "M D"]:
        """Embeddings of the texts of all chunks in order, not normalised. One call, so that DDP sees one forward."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            parts = [self.embed_chunk(chunk) for chunk in chunks]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.no_grad()
    def embed(self, tokens: Tokens, budget: int | None = None) -> Float[Tensor, "M D"]:
        """float32 embeddings of all texts, on the CPU, in evaluation mode; `budget` padded tokens at a time."""
        training = self.training
        self.eval()
        embeddings = torch.empty(len(tokens), self.width)
        for rows in self.chunks(tokens, budget or self.micro_batch_tokens, split=True):
            embeddings[torch.from_numpy(rows)] = self([tokens.select(rows)]).float().cpu()
        self.train(training)
        return embeddings

    def fingerprint(self) -> str:
        """16 hex digits of all that decides an embedding of a token sequence, and the tokens of a text: weights, modules,
        tokenizer and the model's own limit.
        """
        digest = hashlib.sha256(f"{self} {self.max_tokens}".encode("utf-8", "surrogatepass"))
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode("utf-8", "surrogatepass"))
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
        digest.update(self.tokenizer_text().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def input_fingerprint(self) -> str:
        """16 hex digits of all that decides which tokens a text of a role becomes: not the weights."""
        roles = [self.role(name) for name in ROLES]
        rules = [(role, self.unpooled(role.prompt) if role.prompt else 0) for role in roles]
        digest = hashlib.sha256(
            f"{self.takes_bags} {self.max_tokens} {rules}".encode("utf-8", "surrogatepass")
        )
        digest.update(self.tokenizer_text().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """To a device; to a GPU from pinned memory, for which the host need not wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
