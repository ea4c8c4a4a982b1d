"""What an encoder is: prepared inputs in, embeddings out, whatever the modality."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.encoders.role import ROLES, Prompts, Role, RoleName
from tempembed.inputs.inputs import Inputs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tempembed.encoders.lora import Base


class Encoder(nn.Module, ABC):
    """Turns inputs that were prepared before into embeddings, in a form that sentence-transformers can load."""

    modalities: frozenset[str] = frozenset({"text"})
    """What it takes, in sentence-transformers' words."""
    use_bfloat16 = False
    """Products in bfloat16: in training, and on a GPU in every use. What a CPU measures, saves and compares is float32."""
    prompts: Prompts
    """What is put before a text of a role."""
    limits: Mapping[RoleName, int] = {}
    """Where the texts of a role are cut, if not at the model's own limit."""
    notes: tuple[str, ...] = ()
    """What was decided for the user when the model was loaded, a line each."""
    adapter_base: "Base | None" = None
    """What its low-rank adapter is for, if it has one (`encoders.lora`)."""
    is_table = False
    """Whether it is a static table, which learns at a rate of its own."""

    def introduction(self) -> tuple[str, ...]:
        """What a user should know of the model before it is put to use, a line each."""
        return (*self.notes, self.prompts.describe())

    @property
    @abstractmethod
    def width(self) -> int:
        """Coordinates of an embedding."""

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
        """Tokens that are best taken at once, measured; padding counts where there is any."""

    @abstractmethod
    def prepare(self, rows: Sequence[Any], role: Role) -> Inputs:
        """What goes in for rows of a role: prompt and text, cut and tokenised. The one place where that is done."""

    @abstractmethod
    def embed_chunk(self, chunk: Any) -> Float[Tensor, "B D"]:
        """Embeddings of inputs that go through the encoder together."""

    @abstractmethod
    def preparation(self) -> str:
        """All that decides what `prepare` makes of a row, the roles aside: a tokenizer as text, for one."""

    @abstractmethod
    def sentence_transformer(self) -> "SentenceTransformer":
        """The same model for the library; it shares the weights."""

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder that `SentenceTransformer(folder)` loads, with weights of this type; its roles have their prompts."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def towers(self) -> Mapping[Any, "Encoder"]:
        """The encoders that it is made of, by the name that inputs have of them; itself, if it is one for all."""
        return {"": self}

    def tower(self, role: RoleName) -> str:
        """Name of the tower that takes a role's inputs; empty where one takes all: the same text is then the same embedding."""
        return ""

    def role(self, name: RoleName, prompt: str | None = None) -> Role:
        """How the texts of a role are embedded; with another prompt, if one is given."""
        own = self.prompts.of_role(name) if prompt is None else prompt
        return Role(name=name, prompt=own, max_tokens=self.limits.get(name))

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through the encoder together.

        Args:
            inputs: what `prepare` gave.
            budget: padded tokens of a chunk; 0: as many as are best.
            split: keep to the budget even where that saves nothing but memory.
        """
        return inputs.chunks(budget or self.micro_batch_tokens, split=split)

    def forward(self, chunks: Sequence[Inputs]) -> Float[Tensor, "M D"]:
        """Embeddings of the rows of all chunks in order, not normalised. One call, so that DDP sees one forward."""
        is_half = self.use_bfloat16 and (self.training or self.device.type != "cpu")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            parts = [self.embed_chunk(chunk) for chunk in chunks]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.no_grad()
    def embed(self, inputs: Inputs, budget: int = 0) -> Float[Tensor, "M D"]:
        """float32 embeddings of all rows, on the CPU, in evaluation mode; `budget` padded tokens at a time."""
        training = self.training
        self.eval()
        embeddings = torch.empty(len(inputs), self.width)
        for rows in self.chunks(inputs, budget):
            embeddings[torch.from_numpy(rows)] = self([inputs.select(rows)]).float().cpu()
        self.train(training)
        return embeddings

    def fingerprint(self) -> str:
        """16 hex digits of all that decides an embedding of prepared inputs, and what `prepare` makes: weights, modules,
        tokenizer and the model's own limit.
        """
        digest = hashlib.sha256(f"{self} {self.max_tokens}".encode("utf-8", "surrogatepass"))
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode("utf-8", "surrogatepass"))
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
        digest.update(self.preparation().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def input_fingerprint(self) -> str:
        """16 hex digits of all that decides which inputs a row of a role becomes: not the weights."""
        digest = hashlib.sha256(self.role_rules().encode("utf-8", "surrogatepass"))
        digest.update(self.preparation().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def role_rules(self) -> str:
        """What `prepare` does for each role."""
        return f"{self.max_tokens} {[self.role(name) for name in ROLES]}"


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """To a device; to a GPU from pinned memory, for which the host need not wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
