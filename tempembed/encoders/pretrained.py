"""Any SentenceTransformer as an encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import load_file_path
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from tempembed.data.tokens import Tokens
from tempembed.data.wording import first_line
from tempembed.encoders.encoder import Encoder, moved
from tempembed.encoders.static import (
    TABLE_TOKENS,
    StaticEncoder,
    cut,
    cut_after,
    mean_of_tokens,
    require_rows_for,
    static_token_lists,
)
from tempembed.encoders.transformers_log import silence, warnings
from tempembed.errors import UserError

MOST_TOKENS = 2**24
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's, which makes a new plan for every shape, and mixed lengths are new shapes in every step."""
PROBE = "the quick brown fox 1 2 3 . , дом 人 é"
"""Of which every tokenizer knows something."""


class PretrainedEncoder(Encoder):
    """The modules of a SentenceTransformer.

    Raises:
        UserError: its tokenizer has ids beyond its table.
    """

    def __init__(self, model: SentenceTransformer, max_tokens: int | None = None) -> None:
        super().__init__()
        first: Any = model[0]
        self.takes_bags = isinstance(first, StaticEmbedding)
        if self.takes_bags:
            cut(first.tokenizer, max_tokens)
        elif max_tokens:
            model.max_seq_length = min(max_tokens, model.max_seq_length or max_tokens)
        require_rows_for(first.tokenizer, first.embedding.num_embeddings if self.takes_bags else MOST_TOKENS)
        self.model = model
        self.prompts = {name: prompt or "" for name, prompt in model.prompts.items()}
        self._tokenizer: Any = first.tokenizer

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        width = self.model.get_embedding_dimension()
        assert width is not None
        return width

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""
        first: Any = self.model[0]
        return first.embedding.num_embeddings if self.takes_bags else len(self._tokenizer)

    @property
    def max_tokens(self) -> int | None:
        """Where texts are cut; None: nowhere."""
        if self.takes_bags:
            return cut_after(self._tokenizer)
        return self.model.max_seq_length

    @property
    def micro_batch_tokens(self) -> int:
        """What a CPU's caches hold, what fills a GPU; with a table, few large parts, for its gradient is as large as it."""
        if self.takes_bags:
            return TABLE_TOKENS
        return 32_768 if self.device.type == "cuda" else 2048

    def token_lists(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, special tokens included."""
        if self.takes_bags:
            return static_token_lists(self._tokenizer, texts)
        return self._tokenizer(
            texts, truncation=True, max_length=self.model.max_seq_length, add_special_tokens=True
        )["input_ids"]

    def embed_chunk(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """Embeddings of texts, padded to the longest."""
        if self.takes_bags:
            modules: list[Any] = list(self.model)
            features = {"sentence_embedding": mean_of_tokens(modules[0].embedding.weight, tokens)}
            for module in modules[1:]:
                features = module(features)
            return features["sentence_embedding"]
        with sdpa_kernel(ATTENTION):
            return self.model(self._padded(tokens))["sentence_embedding"]

    def _padded(self, tokens: Tokens) -> dict[str, Tensor]:
        """The tensors that a transformer takes."""
        ids = torch.from_numpy(np.ascontiguousarray(tokens.ids)).long()
        offsets = torch.from_numpy(tokens.offsets)
        lengths = offsets[1:] - offsets[:-1]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        padded = torch.full(mask.shape, self._tokenizer.pad_token_id or 0)
        padded[mask] = ids
        return {"input_ids": moved(padded, self.device), "attention_mask": moved(mask.long(), self.device)}

    def tokenizer_text(self) -> str:
        """The tokenizer as JSON, or as it describes itself."""
        backend = getattr(self._tokenizer, "backend_tokenizer", self._tokenizer)
        return backend.to_str() if hasattr(backend, "to_str") else repr(self._tokenizer)

    def sentence_transformer(self) -> SentenceTransformer:
        """The model itself."""
        return self.model

    def save(self, folder: Path) -> None:
        """A folder that `SentenceTransformer(folder)` loads."""
        self.model.save(str(folder), create_model_card=False)


def _check_tokenizer(name: str, model: SentenceTransformer) -> None:
    """Transformers makes an empty one where a folder has none, and every text is the same to it."""
    tokenizer: Any = model.tokenizer
    special = getattr(tokenizer, "all_special_ids", None)
    if special is not None and set(tokenizer(PROBE)["input_ids"]) <= set(special):
        raise UserError(
            f"model {name!r}: expected a tokenizer that knows words, got one without any; copy its files (tokenizer.json, "
            "vocab.txt or others) into the folder"
        )


def _first_path(name: str) -> str:
    """Where a model's first module is: a folder in its own, or its own."""
    modules = load_file_path(name, "modules.json")
    return json.loads(Path(modules).read_text())[0]["path"] if modules else ""


def _check_weights(name: str, model: SentenceTransformer) -> None:
    """Transformers draws at random what a folder lacks, with a warning. Only then, as it costs a second loading."""
    module = getattr(model[0], "auto_model", None)
    if not isinstance(module, PreTrainedModel):
        return
    kind: Any = type(module)
    try:
        with silence():
            _, found = kind.from_pretrained(
                name,
                subfolder=_first_path(name),
                config=module.config,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, RuntimeError):  # a layout that only its own class can load
        return
    # a pooler is no part of an embedding
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise UserError(
            f"model {name!r}: expected all weights of a {kind.__name__}, {len(missing)} are missing: "
            f"{', '.join(missing[:3])}{', …' * (len(missing) > 3)}; copy the whole model"
        )


def load_pretrained(name: str, max_tokens: int | None = None) -> Encoder:
    """A sentence-transformers or transformers model, from a local folder or by hub name. Runs no code of the model's author.

    Raises:
        UserError: neither a model folder nor a model that the hub has, weights that are missing, no tokenizer.
    """
    try:
        with warnings() as warned:
            model = SentenceTransformer(name, device="cpu", trust_remote_code=False)
    except Exception as error:  # what its format layers raise has no common class
        raise UserError(
            f"model {name!r}: expected a local model folder or the name of a model on the hub, and could not "
            f"load it as either ({type(error).__name__}: {first_line(error)})"
        ) from error
    if warned:
        _check_weights(name, model)
    _check_tokenizer(name, model)
    model.truncate_dim = None  # the full embeddings are what is measured, whatever an export cuts
    first: Any = model[0]
    if len(model) == 1 and isinstance(first, StaticEmbedding):
        config = {
            "prompts": model.prompts,
            "default_prompt_name": model.default_prompt_name,
            "similarity_fn_name": str(model.similarity_fn_name),
        }
        return StaticEncoder(first.embedding.weight.detach(), first.tokenizer, max_tokens, config)
    return PretrainedEncoder(model, max_tokens)
