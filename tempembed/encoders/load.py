"""Encoders by folder or hub name; the library is imported only for those that need it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tempembed.encoders.adapter_folder import base_of, is_adapter, put_adapter
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image_folder import is_clip_folder, is_ours, load_towers
from tempembed.encoders.kinds import require_dense
from tempembed.encoders.lora import merge
from tempembed.encoders.role import RoleName
from tempembed.encoders.static import load_static
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, is_folder, read_json

NONE: Mapping[RoleName, Any] = MappingProxyType({})


def load_encoder(
    name: str,
    *,
    prompts: Mapping[RoleName, str] = NONE,
    limits: Mapping[RoleName, int] = NONE,
    pooling: str | None = None,
    keep_adapter: bool = False,
) -> Encoder:
    """A sentence-transformers or transformers model, from a local folder or by hub name. Runs no code of the model's author.

    Weights are float32 whatever they were stored in; a float16 or bfloat16 model is trained and measured in float32.

    Args:
        name: of the folder or on the hub.
        prompts: of the roles, in place of the model's own.
        limits: where texts of a role are cut, in tokens, if the model does not cut them earlier.
        pooling: mean, cls or last, of a plain transformer, which has none; default mean.
        keep_adapter: of a folder with a low-rank adapter: leave it beside the weights of its base, to be trained; otherwise
            it is merged into them.

    Raises:
        UserError: neither a model folder nor a model that the hub has, another kind of model than a dense encoder, or
            damaged files, in one line.
    """
    folder = Path(name)
    encoder: Encoder | None = None
    if is_folder(folder) and is_adapter(folder):
        base = base_of(folder)
        encoder = load_encoder(base.name, prompts=prompts, limits=limits, pooling=pooling)
        put_adapter(encoder, folder, base)
        if not keep_adapter:
            merge(encoder)
        return encoder
    if is_folder(folder):
        if not any((folder / file).exists() for file in ("modules.json", "config.json")):
            raise UserError(
                f"model {name!r}: expected a folder with modules.json (sentence-transformers) or config.json "
                f"(transformers), found {sorted(p.name for p in folder.iterdir())[:8]}"
            )
        if is_ours(folder):
            encoder = load_towers(folder, lambda place: load_encoder(str(place), prompts=prompts))
            encoder.limits = dict(limits)
            return encoder
        if is_clip_folder(folder):
            from tempembed.encoders.clip import load_clip

            encoder = load_clip(folder, prompts)
            encoder.limits = dict(limits)
            return encoder
        require_dense(name, lambda file: read_json(folder / file) if is_file(folder / file) else None)
        encoder = load_static(folder, prompts)
        if encoder and pooling:
            raise UserError(
                f"--pooling {pooling}: expected a plain transformer, got a static model; leave --pooling out"
            )
    if encoder is None:
        from tempembed.encoders.load_pretrained import load_pretrained

        encoder = load_pretrained(name, prompts, pooling)
    encoder.limits = dict(limits)
    return encoder
