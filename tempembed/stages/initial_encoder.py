"""The encoder before training, and how it embeds the training texts of a role."""

import dataclasses
import math
from collections.abc import Iterator

from tokenizers import Tokenizer

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.from_scratch import build
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import ROLES, Role, RoleName
from tempembed.settings.model import DEFAULT_MAX_TOKENS
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepared import Prepared


def build_encoder(settings: TrainSettings, tokenizer: Tokenizer | None) -> Encoder:
    """The encoder before training; `tokenizer` is needed by those from scratch."""
    model = settings.model
    made = model.made_here
    if made is None:
        rank = settings.lora.lora_rank
        encoder = load_encoder(
            model.encoder, prompts=model.prompts, pooling=model.pooling, keep_adapter=rank is not None
        )
        if rank:
            _adapt(encoder, model.encoder, settings)
        if model.save_max_tokens and model.max_tokens:
            encoder.limit_to(model.max_tokens)
        return encoder
    assert tokenizer is not None
    encoder = build(
        made, tokenizer, width=model.width or made.width, layers=model.layers,
        max_tokens=model.max_tokens or DEFAULT_MAX_TOKENS, seed=settings.loop.seed,
    )  # fmt: skip
    encoder.prompts = dataclasses.replace(encoder.prompts, asked=model.prompts)
    return encoder


def _adapt(encoder: Encoder, name: str, settings: TrainSettings) -> None:
    """The adapter that the settings ask for, new or gone on with."""
    from tempembed.encoders import lora

    asked = settings.lora
    assert asked.lora_rank is not None
    if encoder.adapter_base is None:
        lora.add_adapter(
            encoder, name, rank=asked.lora_rank, alpha=asked.lora_alpha, dropout=asked.lora_dropout,
            targets=asked.lora_targets, seed=settings.loop.seed,
        )  # fmt: skip
    else:
        lora.go_on(
            encoder, rank=asked.lora_rank, alpha=asked.lora_alpha, dropout=asked.lora_dropout, targets=asked.lora_targets
        )  # fmt: skip


def training_role(settings: TrainSettings, encoder: Encoder, name: RoleName) -> Role:
    """How the training texts of a role are embedded: as all are, but cut where the settings say."""
    return dataclasses.replace(encoder.role(name), max_tokens=settings.model.limits.get(name))


def describe_roles(settings: TrainSettings, encoder: Encoder) -> Iterator[str]:
    """Lines for a log: what was decided for the user, prompts, limits, and the type of the saved weights."""
    yield from encoder.notes
    yield encoder.prompts.describe()
    own = encoder.max_tokens
    limits = {name: min(settings.model.limits.get(name) or math.inf, own or math.inf) for name in ROLES}
    said = ", ".join(f"{name} {'nowhere' if limit == math.inf else limit}" for name, limit in limits.items())
    yield f"texts are cut after tokens: {said}; the saved model's limit: {own or 'none'}, its weights: {settings.model.save_dtype}"


def initial_encoder(settings: TrainSettings, prepared: Prepared) -> Encoder:
    """The encoder before training, with the tokenizer of the prepared data."""
    path = prepared.folder / "tokenizer.json"
    return build_encoder(settings, Tokenizer.from_file(str(path)) if settings.model.own_encoder else None)
