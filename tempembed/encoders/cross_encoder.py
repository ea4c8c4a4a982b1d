"""Cross-encoders, which score a pair of texts: only to judge, never trained here."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_folder
from tempembed.system.wording import first_line

PAIRS = 32
"""Pairs that go through the model together."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A cross-encoder that is loaded."""

    score: Callable[[Sequence[tuple[str, str]]], np.ndarray]
    """Scores of pairs of a query and a document, float32."""
    fingerprint: str
    """16 hex digits of all that decides a score."""


def load_cross_encoder(name: str) -> Judge:
    """A cross-encoder of sentence-transformers, from a local folder or by hub name. Runs no code of the model's author.

    Raises:
        UserError: no such model, or one that gives more than one score of a pair.
    """
    from sentence_transformers import CrossEncoder

    if is_folder(Path(name)) and not (Path(name) / "config.json").exists():
        raise UserError(f"--cross-encoder {name}: expected a folder with config.json, found none in it")
    try:
        model = CrossEncoder(name, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--cross-encoder {name}: expected a cross-encoder of sentence-transformers, got none ({first_line(error)})"
        ) from error
    if model.num_labels != 1:
        raise UserError(
            f"--cross-encoder {name}: expected one score of a pair, got {model.num_labels}, a classifier; take a re-ranker"
        )

    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        found = model.predict(list(pairs), batch_size=PAIRS, show_progress_bar=False)
        return np.asarray(found, np.float32)

    digest = hashlib.sha256(f"{model} {model.max_seq_length} {model.activation_fn}".encode())
    digest.update(json.dumps(model.tokenizer.get_vocab(), sort_keys=True).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return Judge(score=score, fingerprint=digest.hexdigest()[:16])
