"""An adapter on disk: peft's two files, and the fingerprint of the base that it is for."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from tempembed.encoders import lora
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json, read_tensors
from tempembed.system.wording import first_line

if TYPE_CHECKING:
    from torch import Tensor

    from tempembed.encoders.encoder import Encoder

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
BEYOND = ("modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters")
"""What a configuration may ask for beside low-rank products: not supported."""
FOLDER = "adapter"
"""In the folder of a run, beside the merged model."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model."""
    return is_file(folder / CONFIG) and not any(
        (folder / name).exists() for name in ("modules.json", "config.json")
    )


def save_adapter(encoder: "Encoder", folder: Path) -> None:
    """The adapter of an encoder, as peft reads it."""
    assert encoder.adapter_base is not None
    folder.mkdir(parents=True, exist_ok=True)
    config = lora.adapted(encoder).peft_config[lora.NAME]
    config.save_pretrained(str(folder))
    save_file(dict(lora.adapter_tensors(encoder)), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / BASE).write_text(json.dumps(asdict(encoder.adapter_base), indent=1))


def base_of(folder: Path) -> lora.Base:
    """The base that an adapter names; one that another tool wrote has no fingerprint of it.

    Raises:
        UserError: it names none.
    """
    config = read_json(folder / CONFIG)
    own: Any = read_json(folder / BASE) if is_file(folder / BASE) else {}
    own, config = (each if isinstance(each, dict) else {} for each in (own, config))
    name = config.get("base_model_name_or_path") or own.get("name")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"adapter {str(folder)!r}: expected base_model_name_or_path in its {CONFIG}, got none; write there which model it is for"
        )
    if Path(name).is_dir() and is_adapter(Path(name)):
        raise UserError(
            f"adapter {str(folder)!r}: expected a model as its base, got {name!r}, which is an adapter itself; take the merged model "
            "beside that adapter"
        )
    return lora.Base(name=name, weights=str(own.get("weights") or ""))


def put_adapter(encoder: "Encoder", folder: Path, base: lora.Base) -> None:
    """Give the base of an adapter its weights, checked to be for it.

    Raises:
        UserError: the adapter is for another base, or is none that can be read.
    """
    here = lora.weights_fingerprint(encoder)
    if base.weights and base.weights != here:
        raise _other(
            folder, base, f"its weights were {base.weights} when the adapter was trained and are {here}"
        )
    library = lora.peft()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a field that this version does not know, and would leave out
            config = library.PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, library.LoraConfig):
            raise ValueError(f"a {config.peft_type} adapter")
        if more := [name for name in BEYOND if getattr(config, name, None)]:
            raise ValueError(f"one with {more[0]}")
    except (ValueError, TypeError, KeyError, OSError, UserWarning) as error:
        raise UserError(
            f"adapter {str(folder)!r}: expected a LoRA adapter of peft, got {first_line(error)}; train another one with --lora-rank"
        ) from error
    config.inference_mode, config.init_lora_weights = False, True
    tensors = read_tensors(folder / WEIGHTS)
    try:
        lora.inject(encoder, config, lora.Base(name=base.name, weights=here))
    except UserError as error:
        why = str(error).split("peft says: ")[-1]
        raise _other(folder, base, why if len(why) < 160 else f"{why[:120]}… not found") from error
    unlike = _unlike(lora.adapter_tensors(encoder), tensors)
    if unlike:
        raise _other(folder, base, unlike)
    transformer = lora.adapted(encoder)
    library.set_peft_model_state_dict(transformer, dict(tensors), adapter_name=lora.NAME)


def _unlike(here: Mapping[str, "Tensor"], there: Mapping[str, "Tensor"]) -> str:
    """What does not fit, in words; empty where all does."""
    if names := sorted(here.keys() ^ there.keys()):
        return f"{len(names)} of the layers are not in both, as {names[0]}"
    for name, tensor in here.items():
        if tensor.shape != there[name].shape:
            return f"{name} is {tuple(there[name].shape)} in the adapter and would be {tuple(tensor.shape)}"
    return ""


def _other(folder: Path, base: lora.Base, why: str) -> UserError:
    return UserError(
        f"adapter {str(folder)!r}: expected the base that it was trained on, got another in {base.name!r}: {why}; restore that model, or "
        f"name the right one as base_model_name_or_path in {CONFIG}"
    )
