"""What pre-training leaves: an encoder for sentence-transformers, the whole model beside it, and where it is from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from tempembed.encoders.load_masked_lm import HEAD, Loaded
from tempembed.encoders.load_pretrained import POOLINGS
from tempembed.encoders.masked_lm import MaskedLM
from tempembed.encoders.masked_shapes import FROM_HERE
from tempembed.encoders.transformers_log import silence
from tempembed.system.atomic import write_json


def save_masked_lm(
    masked: MaskedLM, loaded: Loaded, folder: Path, *, pooling: str | None, max_tokens: int | None, notes: Mapping[str, Any]
) -> None:  # fmt: skip
    """Save an encoder in float32 that transformers and sentence-transformers load, and in `masked_lm` the model with its head.

    Args:
        masked: what was trained.
        loaded: what it was before.
        folder: takes it.
        pooling: a key of POOLINGS, where the model has no modules of its own; default mean.
        max_tokens: limit of the encoder; None: the model's own.
        notes: JSON values for `pretrained.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with silence(), tempfile.TemporaryDirectory() as at, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a pooler, which is no part of an embedding
        masked.model.save_pretrained(folder / HEAD)
        loaded.tokenizer.save_pretrained(folder / HEAD)
        if loaded.modules:
            model = SentenceTransformer(
                loaded.modules, device="cpu", trust_remote_code=False, model_kwargs={"dtype": torch.float32}
            )
            first: Any = model[0]
            missing, unknown = first.auto_model.load_state_dict(masked.base.state_dict(), strict=False)
            assert not unknown
            assert all("pooler" in key for key in missing)
        else:
            masked.base.save_pretrained(at)
            loaded.tokenizer.save_pretrained(at)
            module = Transformer(at, max_seq_length=max_tokens)
            pool = Pooling(module.get_embedding_dimension(), POOLINGS[pooling or "mean"])
            model = SentenceTransformer(modules=[module, pool], device="cpu", similarity_fn_name="cosine")
        model.save(str(folder), create_model_card=False)
    write_json(folder / FROM_HERE, dict(notes))
