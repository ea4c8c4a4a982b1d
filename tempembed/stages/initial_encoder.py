"""The encoder before training, and how it embeds the training texts of a role."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.from_scratch import build
from tempembed.encoders.image import IMAGE, TEXT, ImageEncoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.multimodal import MultimodalEncoder
from tempembed.encoders.role import ROLES, Role, RoleName
from tempembed.encoders.text import TextEncoder
from tempembed.settings.model import DEFAULT_MAX_TOKENS, DEFAULT_PICTURE_WIDTH, DEFAULT_SIDE
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepared import Prepared
from tempembed.system.errors import UserError

TEXTS = (TEXT,)


def build_encoder(
    settings: TrainSettings, tokenizer: Tokenizer | None, modalities: Sequence[str] = TEXTS
) -> Encoder:
    """The encoder before training; `tokenizer` is needed by those of texts from scratch.

    Args:
        settings: of the run.
        tokenizer: trained on the data's texts.
        modalities: what the data has: text, image, or both.

    Raises:
        UserError: an encoder that does not take these.
    """
    if IMAGE not in modalities:
        if settings.model.is_about_pictures:
            raise UserError(
                "--image-encoder, --image-side, --augment: expected data with pictures, got texts only; leave them out"
            )
        return _of_texts(settings, tokenizer)
    if not settings.model.own_encoder or TEXT in modalities:
        encoder = _of_texts(settings, tokenizer, DEFAULT_PICTURE_WIDTH)
        if set(modalities) <= encoder.modalities:
            if settings.model.image_encoder:
                raise UserError(
                    f"--image-encoder: expected an --encoder of texts beside it, {settings.model.encoder} takes pictures itself; leave "
                    "--image-encoder out"
                )
            return encoder
        if not isinstance(encoder, TextEncoder) or TEXT not in modalities:
            raise UserError(
                f"--encoder {settings.model.encoder}: expected one that takes pictures, got one of {', '.join(encoder.modalities)}; "
                "give the model of pictures as --image-encoder, and leave --encoder out if there are no texts"
            )
        return MultimodalEncoder(encoder, image_encoder(settings, encoder.width))
    return image_encoder(settings, settings.model.width)


def image_encoder(settings: TrainSettings, width: int | None) -> ImageEncoder:
    """The encoder of pictures before training, of this width; by default a loaded one has its own."""
    model = settings.model
    if model.own_image_encoder:
        from tempembed.encoders.convolution import convolution_encoder

        return convolution_encoder(
            side=model.image_side or DEFAULT_SIDE,
            width=width or DEFAULT_PICTURE_WIDTH,
            seed=settings.loop.seed,
        )
    from tempembed.encoders.image_model import load_image_model

    assert model.image_encoder is not None
    return load_image_model(model.image_encoder, width=width, seed=settings.loop.seed)


def _of_texts(settings: TrainSettings, tokenizer: Tokenizer | None, width: int | None = None) -> Encoder:
    """The encoder of `--encoder`; of this width, if it is made here and none is asked for."""
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
        made, tokenizer, width=model.width or width or made.width, layers=model.layers,
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
    tokenizer = Tokenizer.from_file(str(path)) if path.exists() else None
    return build_encoder(settings, tokenizer, prepared.modalities)
