"""The static encoder: the mean of token embeddings. It trains in seconds on a CPU.

Its folder is sentence-transformers' own for a StaticEmbedding, read and written here: a table and a tokenizer do not need the
library, whose import takes longer than a short run trains.
"""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from tempembed.encoders.encoder import moved
from tempembed.encoders.role import Prompts, RoleName
from tempembed.encoders.text import TextEncoder
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json, read_tensors
from tempembed.system.wording import first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"
WEIGHTS, TOKENIZER, TABLE = "model.safetensors", "tokenizer.json", "embedding.weight"
KIND = "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"
TABLE_TOKENS = 262_144
"""Best taken at once from a table: its gradient is as large as it, whatever the texts, so few large parts."""
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
OF_THE_LIBRARY = re.compile(r"sentence_transformers\.[a-zA-Z_.]*\bStaticEmbedding")
"""The class of a static table in sentence-transformers, by its names of now and before."""
NO_PROMPTS = Prompts.of_config({}, {})


class StaticEncoder(TextEncoder):
    """A table with a row for each token.

    Args:
        table: its initial values [V, D]; float32, whatever type they come in.
        tokenizer: its ids are rows of the table; where it cuts texts is the model's own limit.
        prompts: of the roles.
        similarity: how the library compares its embeddings.

    Raises:
        UserError: the tokenizer has ids beyond the table.
    """

    takes_bags = True

    def __init__(
        self, table: Float[Tensor, "V D"], tokenizer: Tokenizer, prompts: Prompts = NO_PROMPTS,
        similarity: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        require_rows_for(tokenizer, len(table))
        self.table = nn.Parameter(table.float())
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        self.prompts = prompts
        self.similarity_fn_name = similarity if similarity in SIMILARITIES else "cosine"

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self.table.shape[1]

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""
        return len(self.table)

    @property
    def max_tokens(self) -> int | None:
        """Where the tokenizer cuts; None: nowhere."""
        return cut_after(self.tokenizer)

    def limit_to(self, max_tokens: int) -> None:
        """Make this the tokenizer's limit, if it is lower."""
        self.tokenizer.enable_truncation(min(max_tokens, self.max_tokens or max_tokens))

    @property
    def micro_batch_tokens(self) -> int:
        """Few large parts, as a table's gradient asks for."""
        return TABLE_TOKENS

    def token_lists(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        return static_token_lists(self.tokenizer, texts, limit)

    def unpooled(self, prompt: str) -> int:
        """None: the mean is over all tokens."""
        return 0

    def embed_chunk(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """The mean over each text's tokens."""
        return mean_of_tokens(self.table, tokens)

    def preparation(self) -> str:
        """The tokenizer as JSON."""
        return self.tokenizer.to_str()

    def sentence_transformer(self) -> "SentenceTransformer":
        """The same model for the library; it shares the weights."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        module = StaticEmbedding(self.tokenizer, embedding_weights=self.table.detach())
        return SentenceTransformer(modules=[module], device="cpu", **self._config())

    def _config(self) -> dict[str, Any]:
        return {**self.prompts.saved(), "similarity_fn_name": self.similarity_fn_name}

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """The files of `SentenceTransformer.save`, byte for byte (tested)."""
        folder.mkdir(parents=True, exist_ok=True)
        versions = {
            "pytorch": torch.__version__,
            **{
                package.replace("-", "_"): version(package)
                for package in ("sentence-transformers", "transformers")
            },
        }
        config = {"__version__": versions, **self._config(), "model_type": "SentenceTransformer"}
        modules = [{"idx": 0, "name": "0", "path": "", "type": KIND}]
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))
        save_file({TABLE: self.table.detach().to("cpu", dtype).contiguous()}, folder / WEIGHTS)
        self.tokenizer.save(str(folder / TOKENIZER))
        (folder / MODULES).write_text(json.dumps(modules, indent=2))


def static_encoder(tokenizer: Tokenizer, *, width: int, max_tokens: int, seed: int) -> StaticEncoder:
    """Token embeddings drawn from N(0, 1/width), averaged over a text's tokens."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(tokenizer.get_vocab_size(), width, generator=generator) * width**-0.5
    tokenizer.enable_truncation(max_tokens)
    return StaticEncoder(weights, tokenizer)


def build_static(tokenizer: Tokenizer, width: int, layers: int, max_tokens: int, seed: int) -> StaticEncoder:
    """As `from_scratch` asks for it."""
    return static_encoder(tokenizer, width=width, max_tokens=max_tokens, seed=seed)


def load_static(folder: Path, asked: Mapping[RoleName, str] = MappingProxyType({})) -> StaticEncoder | None:
    """The static encoder of a folder; None if it holds another kind of model, which the library must load.

    Args:
        folder: of the model.
        asked: prompts by role, in place of the model's own.

    Raises:
        UserError: damaged files, or a tokenizer with ids beyond the table.
    """
    if not is_file(folder / MODULES):
        return None
    match read_json(folder / MODULES):
        case [{"path": "", "type": str(kind)}] if OF_THE_LIBRARY.fullmatch(kind):
            pass
        case _:
            return None
    if not is_file(folder / WEIGHTS) or not is_file(folder / TOKENIZER):
        return None
    table = read_tensors(folder / WEIGHTS).get(TABLE)
    if table is None or not table.is_floating_point() or table.ndim != 2:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # a bare one is what tokenizers raises
        raise UserError(
            f"{folder / TOKENIZER}: expected a tokenizer, and could not read it ({first_line(error)}); restore the file"
        ) from error
    config = read_json(folder / CONFIG) if is_file(folder / CONFIG) else {}
    if not _is_config(config):
        raise UserError(
            f"{folder / CONFIG}: expected an object with prompts by name, one of which may be the default; restore the file"
        )
    return StaticEncoder(table, tokenizer, Prompts.of_config(config, asked), config.get("similarity_fn_name"))


def _is_config(config: Any) -> bool:
    if not isinstance(config, dict):
        return False
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(p, str | None) for p in prompts.values()):
        return False
    return default is None or (isinstance(default, str) and default in {"query", "document", *prompts})


def static_token_lists(tokenizer: Tokenizer, texts: list[str], limit: int | None) -> list[list[int]]:
    """Ids of each text, without special tokens; at most `limit`, from the side that the tokenizer keeps.

    Raises:
        UserError: a tokenizer that fails on a text.
    """
    from_the_left = (tokenizer.truncation or {}).get("direction") == "left"
    kept = slice(-limit, None) if limit and from_the_left else slice(limit)
    try:
        return [
            encoding.ids[kept] for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]
    except Exception as error:  # a bare one is what tokenizers raises
        raise UserError(
            f"tokenizer: expected one that takes any text, and it fails ({first_line(error)}); take the tokenizer "
            "that the model was trained with"
        ) from error


def mean_of_tokens(table: Float[Tensor, "V D"], tokens: Tokens) -> Float[Tensor, "B D"]:
    """The mean over a text's tokens as a weighted sum over its distinct ones: code repeats itself 2.6 times."""
    assert tokens.counts is not None
    lengths = np.add.reduceat(np.append(tokens.counts, 0), tokens.offsets[:-1])
    weights = tokens.counts / np.repeat(lengths, np.diff(tokens.offsets))
    return nn.functional.embedding_bag(
        moved(torch.from_numpy(np.ascontiguousarray(tokens.ids)).long(), table.device),
        table,
        moved(torch.from_numpy(tokens.offsets[:-1]), table.device),
        mode="sum",
        per_sample_weights=moved(torch.from_numpy(weights).to(table.dtype), table.device),
    )


def cut_after(tokenizer: Tokenizer) -> int | None:
    """After how many tokens texts are cut; None: nowhere."""
    return (tokenizer.truncation or {}).get("max_length")


def require_rows_for(tokenizer: Tokenizer, rows: int) -> None:
    """Raise UserError for a token beyond the table: it has no vector."""
    most = max(tokenizer.get_vocab().values(), default=0)
    if most >= rows:
        raise UserError(
            f"model: expected a tokenizer with tokens up to {rows - 1:,}, got {most:,}; take the tokenizer that "
            "the model was trained with"
        )
