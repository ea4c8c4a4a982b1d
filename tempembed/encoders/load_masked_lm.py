"""A masked language model and its tokenizer, made or loaded, with what is wrong with it said in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from tempembed.encoders.masked_shapes import SHAPES, build
from tempembed.encoders.transformers_log import silence
from tempembed.encoders.unpadded import first_place
from tempembed.system.errors import UserError
from tempembed.system.hub import is_reachable
from tempembed.system.untrusted import is_folder, read_json
from tempembed.system.wording import first_line

HEAD = "masked_lm"
"""Folder, in that of an encoder that was pre-trained here, of the whole model."""
_WORD = "a"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What is trained, and what is needed to save an encoder of it."""

    model: PreTrainedModel
    """In float32."""
    tokenizer: Any
    before: tuple[int, ...]
    """Special tokens before a text."""
    after: tuple[int, ...]
    """Behind it."""
    modules: str | None = None
    """The sentence-transformers model whose other modules are kept."""
    notes: tuple[str, ...] = ()
    """What was decided for the user, a line each."""


def masked_lm(
    name: str,
    tokens_folder: Path,
    *,
    vocabulary: int,
    width: int | None = None,
    layers: int | None = None,
    max_tokens: int = 256,
    tied: bool | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Loaded:
    """The model before training, on the tokenizer of a folder of shards.

    Args:
        name: of `SHAPES`, a folder or a hub name.
        tokens_folder: with the tokenizer's files.
        vocabulary: ids of the shards are below it.
        width: of one that is made here.
        layers: see width.
        max_tokens: of a sequence.
        tied: one table for input and output; None: untied if it is made here, else as it is.
        dropout: in training, in place of its own.
        seed: of random weights.

    Raises:
        UserError: no such model, one that is no masked language model, another tokenizer, one without a mask token.
    """
    tokenizer = _tokenizer(str(tokens_folder))
    _require_special(f"tokenizer of {tokens_folder.name}", tokenizer)
    before, after = special_around(tokenizer)
    notes: tuple[str, ...] = ()
    modules = None
    if name in SHAPES:
        model = build(
            SHAPES[name], tokenizer, width=width, layers=layers, max_tokens=max_tokens, tied=bool(tied), seed=seed
        )  # fmt: skip
        tokenizer.model_max_length = max_tokens
    else:
        model, own, modules, notes = _load(name, seed)
        _require_same(name, own, tokenizer)
        tokenizer = own
        if tied is not None:
            _tie(model, tied=tied)
        _require_places(name, model, max_tokens)
    table: Any = model.get_input_embeddings()
    rows = table.weight.shape[0]
    largest = max(vocabulary, max(tokenizer.get_vocab().values(), default=-1) + 1)
    if largest > rows:
        raise UserError(
            f"model {name!r}: expected a table with a row for each of the {largest} ids of the tokenizer, got {rows} rows: the text was "
            "tokenised for another model"
        )
    set_dropout(model, dropout)
    return Loaded(model=model, tokenizer=tokenizer, before=before, after=after, modules=modules, notes=notes)


def model_tokenizer(name: str) -> Any:
    """The tokenizer of a model to go on from, without its weights.

    Raises:
        UserError: no such model, or no tokenizer with a mask token.
    """
    folder = Path(name)
    from_disk = is_folder(folder) or not is_reachable()
    try:
        subfolder = _modules(name, from_disk)[1]
        options = {"subfolder": subfolder} if subfolder else {}
        tokenizer = _tokenizer(name, trust_remote_code=False, local_files_only=from_disk, **options)
    except UserError:
        raise
    except Exception as error:  # as for models
        raise _no_model(name, error, away=from_disk and not is_folder(folder)) from error
    _require_special(f"model {name!r}", tokenizer)
    return tokenizer


def special_around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Special tokens that a tokenizer puts before and behind a text."""
    bare = tokenizer(_WORD, add_special_tokens=False)["input_ids"]
    whole = tokenizer(_WORD)["input_ids"]
    at = next((i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare), None)
    if at is None:
        raise UserError("tokenizer: expected one that knows words, got one without any")
    return tuple(whole[:at]), tuple(whole[at + len(bare) :])


def set_dropout(model: PreTrainedModel, share: float) -> None:
    """Train with this dropout; the configuration, which is saved, keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, share)


def _load(name: str, seed: int) -> tuple[PreTrainedModel, Any, str | None, tuple[str, ...]]:
    folder = Path(name)
    from_disk = is_folder(folder) or not is_reachable()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": from_disk}
    try:
        modules, subfolder = _modules(name, from_disk)
        if subfolder:
            options["subfolder"] = subfolder
        config = AutoConfig.from_pretrained(name, **options)
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or getattr(config, "is_decoder", False):
            raise UserError(
                f"model {name!r}: expected a masked language model, got a {config.model_type}, which reads from left to right or has no "
                "such head: take an encoder, such as BERT, RoBERTa or ModernBERT"
            )
        with silence(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind: Any = AutoModelForMaskedLM
            model, found = kind.from_pretrained(
                name,
                dtype=torch.float32,
                attn_implementation=_attention(config),
                output_loading_info=True,
                **options,
            )
        tokenizer = _tokenizer(name, **options)
    except UserError:
        raise
    except Exception as error:  # what its format layers raise has no common class
        raise _no_model(name, error, away=from_disk and not is_folder(folder)) from error
    _require_special(f"model {name!r}", tokenizer)
    missing = sorted(key for key in found["missing_keys"] if ".pooler." not in key)
    inside = [key for key in missing if key.startswith(f"{model.base_model_prefix}.")]
    if inside:
        raise UserError(
            f"model {name!r}: expected all weights of a {type(model).__name__}, {len(inside)} are missing: "
            f"{', '.join(inside[:3])}{', …' * (len(inside) > 3)}; copy the whole model"
        )
    notes = (f"model {name!r} has no head for masked tokens: a new one learns with it",) if missing else ()
    return model, tokenizer, modules, notes


def _no_model(name: str, error: Exception, *, away: bool) -> UserError:
    return UserError(
        f"model {name!r}: expected a name of {', '.join(SHAPES)}, a local model folder or the name of a masked language model on the "
        f"hub{', which cannot be reached from here' if away else ''}, and could not load it "
        f"({type(error).__name__}: {first_line(error)}); check the path or the name"
    )


def _attention(config: Any) -> str | None:
    """The attention that is asked for; None: what the family has."""
    kind: Any = MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    return "sdpa" if getattr(kind, "_supports_sdpa", False) else None


def _modules(name: str, from_disk: bool) -> tuple[str | None, str]:
    """The sentence-transformers model that a name is of, if it is of one, and the folder of its transformer in it."""
    from sentence_transformers.util import load_file_path

    path = load_file_path(name, "modules.json", local_files_only=from_disk)
    if not path:
        return None, ""
    if load_file_path(name, f"{HEAD}/config.json", local_files_only=from_disk):
        return name, HEAD
    modules = read_json(Path(path))
    return name, str(modules[0]["path"])


def _tokenizer(name: str, **options: Any) -> Any:
    try:
        with silence():
            return AutoTokenizer.from_pretrained(name, **options)
    except Exception as error:  # as for models
        raise UserError(
            f"tokenizer {name}: expected its files, could not load them ({type(error).__name__}: {first_line(error)})"
        ) from error


def _require_special(what: str, tokenizer: Any) -> None:
    for kind in ("mask", "pad"):
        if getattr(tokenizer, f"{kind}_token_id", None) is None:
            raise UserError(
                f"{what}: expected a tokenizer with a {kind} token, got one without: masked language modelling needs one; take another "
                "model, or set it in its tokenizer_config.json"
            )


def _require_same(name: str, own: Any, tokenizer: Any) -> None:
    if own.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"model {name!r}: expected shards of its own tokenizer ({len(own)} tokens), got those of another ({len(tokenizer)} tokens): "
            "prepare the text for this model"
        )


def _require_places(name: str, model: PreTrainedModel, max_tokens: int) -> None:
    most = getattr(model.config, "max_position_embeddings", None)
    if most and max_tokens > most - first_place(model):
        raise UserError(
            f"--max-tokens: expected at most the {most - first_place(model)} places of {name!r}, got {max_tokens}"
        )


def _tie(model: PreTrainedModel, *, tied: bool) -> None:
    output: Any = model.get_output_embeddings()
    model.config.tie_word_embeddings = tied
    if tied:
        model.tie_weights()
    else:
        output.weight = nn.Parameter(output.weight.detach().clone())
