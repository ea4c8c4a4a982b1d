"""Any SentenceTransformer as an encoder."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tempembed.encoders.dropout import cheapen
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.lora import merged
from tempembed.encoders.role import Prompts
from tempembed.encoders.static import (
    NO_PROMPTS,
    TABLE_TOKENS,
    cut_after,
    mean_of_tokens,
    require_rows_for,
    static_token_lists,
)
from tempembed.encoders.text import TextEncoder, padded_inputs, tokenizer_as_text
from tempembed.encoders.transformers_log import no_bars
from tempembed.encoders.unpadded import first_place, padded, row, takes_rows
from tempembed.inputs.chunks import length_sorted_chunks
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.tokens import Tokens

MOST_TOKENS = 2**24
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's, which makes a new plan for every shape, and mixed lengths are new shapes in every step."""


class LibraryEncoder(Encoder):
    """An encoder whose weights are those of a SentenceTransformer, in float32."""

    model: SentenceTransformer

    def sentence_transformer(self) -> SentenceTransformer:
        """The model itself, with the prompts of its roles."""
        saved = self.prompts.saved()
        self.model.prompts, self.model.default_prompt_name = saved["prompts"], saved["default_prompt_name"]
        return self.model

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder that `SentenceTransformer(folder)` loads, with weights of this type and an adapter merged into them."""
        with merged(self), no_bars():
            model = self.sentence_transformer()
            if dtype != torch.float32:
                model = copy.deepcopy(model).to(dtype)
            model.save(str(folder), create_model_card=False)


class PretrainedEncoder(LibraryEncoder, TextEncoder):
    """The modules of a SentenceTransformer, their weights in float32.

    Raises:
        UserError: its tokenizer has ids beyond its table.
    """

    def __init__(self, model: SentenceTransformer, prompts: Prompts = NO_PROMPTS) -> None:
        super().__init__()
        first: Any = model[0]
        self.takes_bags = isinstance(first, StaticEmbedding)
        require_rows_for(first.tokenizer, first.embedding.num_embeddings if self.takes_bags else MOST_TOKENS)
        self.model = model.float()
        self.prompts = prompts
        self._tokenizer: Any = first.tokenizer
        pooling = [module for module in model if isinstance(module, Pooling)]
        self._leaves_out_prompts = any(not module.include_prompt for module in pooling)
        self._takes_rows = not self.takes_bags and takes_rows(
            first, len(self._tokenizer), self.max_tokens or MOST_TOKENS
        )
        self._first_place = first_place(first) if self._takes_rows else 0
        cheapen(model)

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

    def vocabulary(self) -> dict[str, int]:
        """The id of each token."""
        return self._tokenizer.get_vocab()

    @property
    def max_tokens(self) -> int | None:
        """The model's own limit, at which texts are cut; None: it has none."""
        if self.takes_bags:
            return cut_after(self._tokenizer)
        limit = self.model.max_seq_length
        return int(limit) if limit and limit < MOST_TOKENS else None

    def limit_to(self, max_tokens: int) -> None:
        """Make this the model's own limit, if it is lower."""
        most = min(max_tokens, self.max_tokens or max_tokens)
        if self.takes_bags:
            self._tokenizer.enable_truncation(most)
        else:
            self.model.max_seq_length = most

    @property
    def micro_batch_tokens(self) -> int:
        """What a CPU's caches hold, what fills a GPU; with a table, few large parts, for its gradient is as large as it."""
        if self.takes_bags:
            return TABLE_TOKENS
        return 32_768 if self.device.type == "cuda" else 2048

    def token_lists(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Ids of each text, special tokens included."""
        if self.takes_bags:
            return static_token_lists(self._tokenizer, texts, limit)
        most = min(limit or MOST_TOKENS, self.max_tokens or MOST_TOKENS)
        return self._tokenizer(texts, truncation=True, max_length=most, add_special_tokens=True)["input_ids"]

    def unpooled(self, prompt: str) -> int:
        """The prompt's tokens and the special ones before them, where pooling does without (`include_prompt=False`)."""
        if not self._leaves_out_prompts:
            return 0
        ids = self.token_lists([prompt], None)[0]
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through the encoder together; without padding, the budget is of tokens that are there."""
        if isinstance(inputs, Tokens) and self._is_unpadded:
            lengths = np.diff(inputs.offsets)
            return length_sorted_chunks(lengths, budget or self.micro_batch_tokens, padded=False)
        return super().chunks(inputs, budget, split=split)

    @property
    def _is_unpadded(self) -> bool:
        """Whether texts go one after the other in one row; elsewhere kernels of their own take padded texts."""
        return self._takes_rows and self.device.type == "cpu"

    def embed_chunk(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """Embeddings of texts, one after the other, or padded to the longest."""
        if self.takes_bags:
            modules: list[Any] = list(self.model)
            features = {"sentence_embedding": mean_of_tokens(modules[0].embedding.weight, tokens)}
            for module in modules[1:]:
                features = module(features)
            return features["sentence_embedding"]
        empty = np.flatnonzero(np.diff(tokens.offsets) == 0)
        if self._is_unpadded and not len(empty):
            return self._in_row(tokens)
        with sdpa_kernel(ATTENTION):
            if tokens.unpooled is None and not len(empty):
                return self.model(self._padded(tokens))["sentence_embedding"]
            # a text without tokens attends to its padding, for attention to nothing is not defined, and pooling sees nothing
            features = self._padded(tokens)
            pooled_BL = features["attention_mask"]
            attended_BL = pooled_BL.clone()
            attended_BL[empty, 0] = 1
            features = self.model[0]({**features, "attention_mask": attended_BL}) | {
                "attention_mask": pooled_BL
            }
            return self._pooled_apart(features, tokens.unpooled)

    def _in_row(self, tokens: Tokens) -> Tensor:
        """Embeddings of texts one after the other; what follows the transformer meets them so if it is the library's pooling."""
        first, *rest = list(self.model)
        features = first(row(tokens, self._first_place, self.device))
        if tokens.unpooled is None and isinstance(rest[0] if rest else None, Pooling):
            for module in rest:
                features = module(features)
            return features["sentence_embedding"]
        lines_BLD = padded(features["token_embeddings"][0], tokens)
        return self._pooled_apart(self._padded(tokens) | {"token_embeddings": lines_BLD}, tokens.unpooled)

    def _pooled_apart(self, features: dict[str, Tensor], unpooled: np.ndarray | None) -> Tensor:
        """Embeddings where pooling leaves out unlike numbers of tokens: the library knows one number a batch.

        Args:
            features: what the transformer gave, with the mask of what is pooled.
            unpooled: how many tokens of each text are left out.
        """
        num, found, order = len(features["attention_mask"]), [], []
        lengths = np.zeros(num, np.int32) if unpooled is None else unpooled
        for length in np.unique(lengths).tolist():
            rows = torch.from_numpy(np.flatnonzero(lengths == length)).to(self.device)
            part: dict[str, Any] = {
                name: value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == num else value
                for name, value in features.items()
            }
            part["prompt_length"] = length
            for module in list(self.model)[1:]:
                part = module(part)
            found.append(part["sentence_embedding"])
            order.append(rows)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _padded(self, tokens: Tokens) -> dict[str, Tensor]:
        return padded_inputs(tokens, self._tokenizer.pad_token_id, self.device)

    def preparation(self) -> str:
        """The tokenizer as JSON, or as it describes itself."""
        backend = getattr(self._tokenizer, "backend_tokenizer", self._tokenizer)
        if self.takes_bags and hasattr(backend, "to_str"):
            return backend.to_str()
        return tokenizer_as_text(self._tokenizer)
