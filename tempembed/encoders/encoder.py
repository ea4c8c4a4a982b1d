"""An encoder: a SentenceTransformer, fed with token ids that were made before."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tempembed.data.chunks import length_sorted_chunks
from tempembed.data.tokens import Tokens
from tempembed.errors import UserError

TOKENIZE_ROWS = 4096
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's, which makes a new plan for every shape, and mixed lengths are new shapes in every step."""


class Encoder(nn.Module):
    """Turns token ids into embeddings by the modules of a SentenceTransformer, so the ecosystem can load it."""

    def __init__(self, model: SentenceTransformer, max_tokens: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.use_bfloat16 = False  # products in bfloat16
        first: Any = model[0]
        self.is_static = isinstance(first, StaticEmbedding)
        self._tokenizer: Any = first.tokenizer
        if self.is_static:
            if max_tokens:
                self._tokenizer.enable_truncation(max_tokens)
            self._pad_id = 0
        else:
            if max_tokens:
                model.max_seq_length = min(max_tokens, model.max_seq_length or max_tokens)
            self._pad_id = model.tokenizer.pad_token_id or 0

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        width = self.model.get_embedding_dimension()
        assert width is not None
        return width

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of each text, cut at the encoder's maximal length, special tokens included."""
        # a part at a time: the tokenizer's own objects take far more memory than the ids that are kept
        parts = [texts[start : start + TOKENIZE_ROWS] for start in range(0, len(texts), TOKENIZE_ROWS)]
        tokens = [Tokens.from_lists(self._token_lists(list(part))) for part in parts]
        return Tokens.concatenate([part.as_bags() for part in tokens] if self.is_static else tokens)

    def _token_lists(self, texts: list[str]) -> list[list[int]]:
        if self.is_static:
            return [e.ids for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        return self.model.tokenizer(
            texts, truncation=True, max_length=self.model.max_seq_length, add_special_tokens=True
        )["input_ids"]

    def chunks(self, tokens: Tokens, budget: int, *, split: bool = False) -> list[np.ndarray]:
        """The rows of the texts that go through the encoder together.

        Args:
            tokens: the texts.
            budget: padded tokens of a chunk.
            split: keep to the budget even where that saves nothing but memory.
        """
        if self.is_static and not split:  # one look-up for all: its gradient is as large as the table
            return [np.arange(len(tokens))]
        return length_sorted_chunks(np.diff(tokens.offsets), budget)

    def forward(self, chunks: Sequence[Tokens]) -> Float[Tensor, "M D"]:
        """Embeddings of the texts of all chunks in order, not normalised. One call, so that DDP sees one forward."""
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16)
        with autocast, sdpa_kernel(ATTENTION):
            parts = [self._static(chunk) if self.is_static else self._sequences(chunk) for chunk in chunks]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @property
    def micro_batch_tokens(self) -> int:
        """Padded tokens that are best taken at once, measured: what a CPU's caches hold, what fills a GPU.

        A static encoder's gradient is as large as its table whatever the texts, so few large parts are best.
        """
        if self.is_static:
            return 262_144
        return 32_768 if self.device.type == "cuda" else 2048

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    def _sequences(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        return self.model(self._padded(tokens))["sentence_embedding"]

    def _static(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """The mean over a text's tokens as a weighted sum over its distinct ones: code repeats itself 2.6 times."""
        assert tokens.counts is not None
        first: Any = self.model[0]
        table: Tensor = first.embedding.weight
        lengths = np.add.reduceat(np.append(tokens.counts, 0), tokens.offsets[:-1])
        repeats = np.diff(tokens.offsets)
        weights = tokens.counts / np.repeat(lengths, repeats)
        mean = nn.functional.embedding_bag(
            self._moved(torch.from_numpy(np.ascontiguousarray(tokens.ids)).long()),
            table,
            self._moved(torch.from_numpy(tokens.offsets[:-1])),
            mode="sum",
            per_sample_weights=self._moved(torch.from_numpy(weights).to(table.dtype)),
        )
        features: Any = {"sentence_embedding": mean}
        for module in list(self.model)[1:]:
            features = module(features)
        return features["sentence_embedding"]

    def _padded(self, tokens: Tokens) -> dict[str, Tensor]:
        """The tensors that a transformer takes."""
        ids = torch.from_numpy(np.ascontiguousarray(tokens.ids)).long()
        offsets = torch.from_numpy(tokens.offsets)
        lengths = offsets[1:] - offsets[:-1]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        padded = torch.full(mask.shape, self._pad_id)
        padded[mask] = ids
        return {"input_ids": self._moved(padded), "attention_mask": self._moved(mask.long())}

    def _moved(self, tensor: Tensor) -> Tensor:
        """To the weights' device; to a GPU from pinned memory, for which the host need not wait."""
        device = self.device
        return (
            tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
        )

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
        """16 hex digits of all that decides an embedding: weights, modules, tokenizer and the maximal length."""
        digest = hashlib.sha256(f"{self.model} {self.model.max_seq_length}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
        tokenizer = self._tokenizer if self.is_static else self.model.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        digest.update(backend.to_str().encode() if hasattr(backend, "to_str") else repr(tokenizer).encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """A folder that `SentenceTransformer(folder)` loads."""
        self.model.save(str(folder), create_model_card=False)


def load_encoder(name: str, max_tokens: int | None = None) -> Encoder:
    """A sentence-transformers or transformers model, from a local folder or by hub name. Runs no code of the model's author.

    Raises:
        UserError: neither a model folder nor a model that the hub has.
    """
    if Path(name).is_dir() and not any((Path(name) / f).exists() for f in ("modules.json", "config.json")):
        raise UserError(
            f"model {name!r}: expected a folder with modules.json (sentence-transformers) or config.json "
            f"(transformers), found {sorted(p.name for p in Path(name).iterdir())[:8]}"
        )
    try:
        model = SentenceTransformer(name, device="cpu", trust_remote_code=False)
    except (
        Exception
    ) as error:  # whatever a damaged file, or one that would have to be unpickled, makes of the loaders
        raise UserError(
            f"model {name!r}: expected a local model folder or the name of a model on the hub, and could not "
            f"load it as either ({type(error).__name__}: {str(error).splitlines()[0][:300]})"
        ) from error
    model.truncate_dim = None  # the full embeddings are what is measured, whatever an export cuts
    return Encoder(model, max_tokens)
