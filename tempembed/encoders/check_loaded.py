"""What is wrong with a model shows when it is loaded: the longest text, the empty one, every token, and the library's word."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tempembed.encoders.pretrained import PretrainedEncoder
from tempembed.encoders.role import ROLES, Role
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError
from tempembed.system.wording import first_line

LONGEST = 8192
"""Tokens of the longest text that is tried: mistaken position tables are of hundreds."""
TEXTS = ("The quick brown fox jumps over the lazy dog.", "  Grüße, 世界! `def f(x): return x`\n", "a")
TOLERANCE = 1e-4
"""Largest difference of an embedding, relative to its length: kernels of other batch sizes round otherwise."""


class _Enough(Exception):
    """The tokens and places are looked up; what follows costs the square of the length."""


def check_loaded(name: str, encoder: PretrainedEncoder) -> None:
    """Raise UserError, in one line, if the model fails on a text that it may meet, or embeds it unlike the library."""
    if encoder.takes_bags:
        return  # its table was compared with its tokenizer
    encoder.eval()
    with torch.no_grad():
        _try(
            name,
            f"its longest text, {_longest(encoder):,} tokens",
            lambda: _look_up(encoder, _long_text(encoder)),
        )
        _try(name, "every token of its tokenizer", lambda: _look_up(encoder, _ends_of_vocabulary(encoder)))
        role = encoder.role("document")
        vectors = _try(name, "an empty text", lambda: encoder.embed(encoder.prepare(["", "a"], role)))
        if not torch.isfinite(vectors).all():
            raise UserError(
                f"model {name!r}: expected finite embeddings, got NaN or infinity of an empty text; its weights are damaged, or "
                "its tokenizer adds no special tokens and its pooling cannot do without"
            )
        for each in ROLES:
            _compare(name, encoder, encoder.role(each))


def _try(name: str, what: str, run: Any) -> Any:
    try:
        return run()
    except UserError:
        raise
    except Exception as error:  # what layers raise has no common class
        raise UserError(
            f"model {name!r}: expected a model that embeds {what}, and it fails ({type(error).__name__}: {first_line(error)}); its "
            "limit, its tables and its tokenizer do not belong together: lower model_max_length in tokenizer_config.json, or "
            "restore the files"
        ) from error


def _longest(encoder: PretrainedEncoder) -> int:
    return min(encoder.max_tokens or LONGEST, LONGEST)


def _long_text(encoder: PretrainedEncoder) -> Tokens:
    word = encoder.token_lists(["a"], None)[0]
    middle = word[len(word) // 2] if word else 0
    return Tokens.from_lists([[middle] * _longest(encoder)])


def _ends_of_vocabulary(encoder: PretrainedEncoder) -> Tokens:
    most = max(encoder.vocabulary().values(), default=0)
    return Tokens.from_lists([[0, most]])


def _look_up(encoder: PretrainedEncoder, tokens: Tokens) -> None:
    """Embed, up to the first product: tables of tokens and places stand before it."""

    def stop(module: nn.Module, inputs: Any) -> None:
        raise _Enough

    products = [m for m in encoder.modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
    hooks = [product.register_forward_pre_hook(stop) for product in products]
    try:
        encoder.embed(tokens, budget=2**62)
    except _Enough:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _compare(name: str, encoder: PretrainedEncoder, role: Role) -> None:
    """Ours are the library's embeddings; it may read texts in ways of its own (processing_kwargs, chat templates)."""
    model = encoder.sentence_transformer()
    theirs = [
        _try(name, repr(text[:20]), lambda text=text: _library(model, text, role.prompt)) for text in TEXTS
    ]
    ours = np.stack([encoder.embed(encoder.prepare([text], role))[0].numpy() for text in TEXTS])
    wrong = np.abs(ours - np.stack(theirs)).max() / max(1e-12, float(np.linalg.norm(theirs, axis=1).mean()))
    if not wrong <= TOLERANCE:
        raise UserError(
            f"model {name!r}: expected the embeddings of sentence-transformers' own encode, got others (off by {wrong:.2g} of "
            "their length); the model reads texts in a way that is not supported here: see processing_kwargs in its "
            "sentence_bert_config.json"
        )


def _library(model: Any, text: str, prompt: str) -> np.ndarray:
    return model.encode([text], prompt=prompt, show_progress_bar=False, convert_to_numpy=True)[0]
