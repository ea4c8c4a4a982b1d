"""Load a model by the library, and find at once what is wrong with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from sentence_transformers.util import load_file_path
from transformers import PreTrainedModel

from tempembed.encoders.check_loaded import check_loaded
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.kinds import is_plain, require_dense
from tempembed.encoders.pretrained import PretrainedEncoder
from tempembed.encoders.role import Prompts, RoleName
from tempembed.encoders.static import StaticEncoder
from tempembed.encoders.transformers_log import silence, warnings
from tempembed.encoders.two_tower import TwoTowerEncoder
from tempembed.system.errors import UserError
from tempembed.system.hub import is_reachable
from tempembed.system.untrusted import is_folder
from tempembed.system.wording import first_line

POOLINGS = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
"""Ours, and what the library calls them."""
WORDS = "the quick brown fox 1 2 3 . , дом 人 é"
"""A text of which every tokenizer knows something."""


def load_pretrained(name: str, asked: Mapping[RoleName, str], pooling: str | None) -> Encoder:
    """A sentence-transformers or transformers model, from a local folder or by hub name. Runs no code of the model's author.

    Args:
        name: of the folder or on the hub.
        asked: prompts by role, in place of the model's own.
        pooling: a key of POOLINGS, for a plain transformer.

    Raises:
        UserError: neither a model folder nor a model that the hub has, weights that are missing, no tokenizer, texts that
            it fails on.
    """
    from_disk = is_folder(Path(name)) or not is_reachable()

    def read(file: str) -> Any:
        path = load_file_path(name, file, local_files_only=from_disk)
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else None

    try:
        require_dense(name, read)  # of a folder again: a hub name had none to look into
        with warnings() as warned, torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                0
            )  # what is missing and no part of an embedding, a pooler, is drawn: alike each time
            model = SentenceTransformer(
                name, device="cpu", trust_remote_code=False, local_files_only=from_disk,
                model_kwargs={"dtype": torch.float32},
            )  # fmt: skip
        plain = is_plain(read)
    except UserError:
        raise
    except Exception as error:  # what its format layers raise has no common class
        raise UserError(
            f"model {name!r}: expected a local model folder or the name of a model on the hub"
            f"{', which cannot be reached from here' if from_disk and not is_folder(Path(name)) else ''}, and could not load it as "
            f"either ({type(error).__name__}: {first_line(error)}); check the path or the name"
        ) from error
    first: Any = model[0]
    if isinstance(first, Router):
        return _two_towers(name, model, asked, pooling)
    if not isinstance(first, Transformer | StaticEmbedding) or "text" not in model.modalities:
        raise UserError(
            f"model {name!r}: expected a transformer or a static table that embeds texts, got a {type(first).__name__} that takes "
            f"{', '.join(map(str, model.modalities)) or 'nothing'}; take another model"
        )
    if warned:
        _check_weights(name, model)
    _check_tokenizer(name, model)
    model.truncate_dim = None  # the full embeddings are what is measured, whatever an export cuts
    config = {"prompts": model.prompts, "default_prompt_name": model.default_prompt_name}
    prompts = Prompts.of_config(config, asked)
    if len(model) == 1 and isinstance(first, StaticEmbedding):
        return StaticEncoder(
            first.embedding.weight.detach(), first.tokenizer, prompts, str(model.similarity_fn_name)
        )
    notes = [*_pooled(name, model, plain, pooling), *_padding(name, model)]
    encoder = PretrainedEncoder(model, prompts)
    encoder.notes = tuple(notes)
    check_loaded(name, encoder)
    return encoder


def _two_towers(
    name: str, model: SentenceTransformer, asked: Mapping[RoleName, str], pooling: str | None
) -> Encoder:
    """Queries and documents with encoders of their own, each checked as any other."""
    if pooling:
        raise UserError(
            f"--pooling {pooling}: expected a plain transformer, got a Router; leave --pooling out"
        )
    router: Any = model[0]
    for route, modules in router.sub_modules.items():
        first = modules[0]
        if not isinstance(first, Transformer | StaticEmbedding) or "text" not in first.modalities:
            raise UserError(
                f"model {name!r}: expected routes that embed texts, got a {type(first).__name__} in the route {route!r}; take "
                "another model"
            )
    model.truncate_dim = None
    config = {"prompts": model.prompts, "default_prompt_name": model.default_prompt_name}
    try:
        encoder = TwoTowerEncoder(model, Prompts.of_config(config, asked))
    except UserError as error:
        raise UserError(f"model {name!r}: {error}") from error
    for tower in encoder.towers().values():
        _check_tokenizer(name, tower.model)
        check_loaded(name, tower)
    return encoder


def _pooled(name: str, model: SentenceTransformer, plain: bool, pooling: str | None) -> list[str]:
    """Give a plain transformer the pooling that is asked for, and say which it has."""
    if not plain:
        if pooling:
            raise UserError(
                f"--pooling {pooling}: expected a plain transformer, {name!r} is a sentence-transformers model with a pooling of "
                "its own; leave --pooling out"
            )
        return []
    for place, module in enumerate(model):
        if isinstance(module, Pooling):
            model[place] = Pooling(module.embedding_dimension, POOLINGS[pooling or "mean"])
    return [
        f"model {name!r} is a plain transformer without a pooling: {pooling or 'mean'} is added"
        + ("" if pooling else " (--pooling mean, cls or last chooses)")
    ]


def _padding(name: str, model: SentenceTransformer) -> list[str]:
    """Give a tokenizer that has no padding token the one that ends a text, as is done in transformers' own examples."""
    tokenizer: Any = model.tokenizer
    if getattr(tokenizer, "pad_token_id", 0) is not None:
        return []
    token = tokenizer.eos_token or tokenizer.unk_token
    if token is None:
        raise UserError(
            f"model {name!r}: expected a tokenizer with a padding token, got one without, and without an end or unknown token to "
            "take its place; set pad_token in its tokenizer_config.json"
        )
    tokenizer.pad_token = token
    return [f"model {name!r} has no padding token: {token!r} pads, which the saved model says too"]


def _check_tokenizer(name: str, model: SentenceTransformer) -> None:
    """Transformers makes an empty one where a folder has none, and every text is the same to it."""
    tokenizer: Any = model.tokenizer
    special = getattr(tokenizer, "all_special_ids", None)
    if special is not None and set(tokenizer(WORDS)["input_ids"]) <= set(special):
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
