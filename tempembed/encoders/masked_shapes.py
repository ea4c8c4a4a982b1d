"""Masked language models that are made here, untrained: by name, the configuration of each. Imports no library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.system.untrusted import is_file, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT_WIDTH, DEFAULT_LAYERS = 256, 4
FROM_HERE = "pretrained.json"
"""In the folder of an encoder that was pre-trained here: what it began as, on how many tokens, on which text."""
SCRATCH = "scratch"
"""What it began as, if it was made here."""
MULTIPLE = 64
"""Of the feed-forward width."""
Sizes = Callable[[int, int, int], tuple[str, dict[str, Any]]]


def is_from_here(name: str) -> bool:
    """Whether a folder has an encoder that was made and pre-trained here, and has seen nothing else."""
    path = Path(name) / FROM_HERE
    return is_file(path) and read_json(path).get("start") == SCRATCH


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a model of a name is made."""

    config: Sizes
    """(width, layers, max_tokens) to the name of transformers' configuration and its values."""
    learning_rate: float
    """Usual peak."""
    is_sized: bool = True
    """Whether width and layers can be chosen."""
    head_width: int = 64


def _modern(width: int, layers: int, max_tokens: int) -> tuple[str, dict[str, Any]]:
    return "modernbert", {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64),
        "intermediate_size": -(-8 * width // (3 * MULTIPLE)) * MULTIPLE,  # with its gate as many weights as 4 x width without
        "max_position_embeddings": max_tokens, "layer_types": ["full_attention"] * layers, "classifier_pooling": "mean",
    }  # fmt: skip


def _bert(width: int, layers: int, max_tokens: int) -> tuple[str, dict[str, Any]]:
    return "bert", {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64), "intermediate_size": 4 * width,
        "max_position_embeddings": max_tokens, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip


def _codesage(layers: int) -> Sizes:
    """GPT-2's layers without its causal mask, as CodeSage has them: norms first, learned places, 8 heads of 128.

    Source: Zhang et al. 2024 (arXiv:2402.01935), Table 5.
    """

    def config(_: int, __: int, max_tokens: int) -> tuple[str, dict[str, Any]]:
        return "roberta-prelayernorm", {
            "hidden_size": 1024, "num_hidden_layers": layers, "num_attention_heads": 8, "intermediate_size": 4096,
            "hidden_act": "gelu_new", "max_position_embeddings": max(1024, max_tokens), "type_vocab_size": 1,
            "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        }  # fmt: skip

    return config


SHAPES: Mapping[str, Shape] = {
    "modern": Shape(config=_modern, learning_rate=1e-3),
    "bert": Shape(config=_bert, learning_rate=5e-4),
    "codesage-small": Shape(config=_codesage(6), learning_rate=3e-4, is_sized=False),
    "codesage-base": Shape(config=_codesage(24), learning_rate=3e-4, is_sized=False),
}
"""By name."""


def build(
    shape: Shape,
    tokenizer: Any,
    *,
    width: int | None,
    layers: int | None,
    max_tokens: int,
    tied: bool,
    seed: int,
) -> "PreTrainedModel":
    """The model with its head, random weights; all special ids are the tokenizer's.

    Args:
        shape: of SHAPES.
        tokenizer: transformers', with a mask token.
        width: of a shape that can be chosen.
        layers: see width.
        max_tokens: places.
        tied: one table for input and predicted tokens.
        seed: of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    family, values = shape.config(width or DEFAULT_WIDTH, layers or DEFAULT_LAYERS, max_tokens)
    padding = tokenizer.pad_token_id
    if family.startswith("roberta"):  # its places count on from the padding token's
        values["max_position_embeddings"] += padding + 1
    first = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    special = {
        "pad_token_id": padding, "bos_token_id": first, "eos_token_id": last, "cls_token_id": first, "sep_token_id": last,
        "mask_token_id": tokenizer.mask_token_id,
    }  # fmt: skip
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), tie_word_embeddings=tied, **values, **special
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")
