"""Low-rank adapters (LoRA; Hu et al. 2022, arXiv:2106.09685) beside the weights of a loaded transformer, by peft."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tempembed.encoders.layers import layers_of, transformers_of
from tempembed.system.errors import UserError
from tempembed.system.wording import first_line

if TYPE_CHECKING:
    from tempembed.encoders.encoder import Encoder

NAME = "default"
"""Peft's name of the one adapter."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that an adapter is for."""

    name: str
    """Folder or hub name."""
    weights: str
    """Fingerprint of its weights."""


def peft() -> Any:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            "--lora-rank: expected the library peft, which is not installed; pip install 'tempembed[lora]'"
        ) from error
    return peft


def weights_fingerprint(encoder: nn.Module) -> str:
    """16 hex digits of the weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def adapted(encoder: nn.Module) -> Any:
    """The transformer of an encoder that takes an adapter.

    Raises:
        UserError: there is none, or one for each role.
    """
    found = transformers_of(encoder, "--lora-rank")
    if len(found) > 1:
        raise UserError(
            f"--lora-rank: expected one transformer for both roles, got {len(found)} towers; leave --lora-rank out"
        )
    return found[0]


def add_adapter(
    encoder: "Encoder",
    name: str,
    *,
    rank: int,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Put a new adapter, which changes nothing yet, beside the weights of a loaded encoder; only it is trained from now on.

    Args:
        encoder: as it was loaded.
        name: of the base.
        rank: of the products that are added to the weights.
        alpha: scale, times 1 / rank; default 2 * rank.
        dropout: of its inputs.
        targets: names of linear modules, or their last parts; default all in the layers.
        seed: of its initial weights.

    Raises:
        UserError: no transformer, one for each role, no such modules.
    """
    transformer, library = adapted(encoder), peft()
    base = Base(name=name, weights=weights_fingerprint(encoder))
    inside = set(map(id, layers_of(transformer).modules()))
    outside = [
        path for path, m in transformer.named_modules() if isinstance(m, nn.Linear) and id(m) not in inside
    ]
    config = library.LoraConfig(
        r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout, target_modules=list(targets) or "all-linear",
        exclude_modules=None if targets else outside or None,
        fan_in_fan_out=any(type(m).__name__ == "Conv1D" for m in transformer.modules()), task_type="FEATURE_EXTRACTION", base_model_name_or_path=name,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject(encoder, config, base)


def inject(encoder: "Encoder", config: Any, base: Base) -> None:
    """Put peft's layers in place of those that a configuration names; what is not of the adapter is not trained.

    Raises:
        UserError: the transformer has no such modules.
    """
    transformer = adapted(encoder)
    try:
        peft().inject_adapter_in_model(config, transformer, NAME)
    except (ValueError, TypeError, KeyError) as error:
        linear = sorted(
            {path.split(".")[-1] for path, m in transformer.named_modules() if isinstance(m, nn.Linear)}
        )
        raise UserError(
            f"--lora-targets: expected modules of this {type(transformer).__name__}, as {', '.join(linear[:8])}, and peft says: "
            f"{first_line(error)}"
        ) from error
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    encoder.adapter_base = base


def adapter_layers(encoder: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """(parent, name, layer) of each layer of an adapter; none where there is no adapter."""
    return [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if hasattr(child, "lora_A") and hasattr(child, "get_base_layer")
    ]


@contextmanager
def merged(encoder: nn.Module) -> Iterator[None]:
    """Within, the encoder is a model of its own class whose weights have the adapter in them; afterwards it is as before, to the bit."""
    layers = adapter_layers(encoder)
    before = [
        {name: p.data for name, p in layer.get_base_layer().named_parameters()} for _, _, layer in layers
    ]
    _merge(layers)
    try:
        yield
    finally:
        for (parent, name, layer), own in zip(layers, before, strict=True):
            for each, parameter in layer.get_base_layer().named_parameters():
                parameter.data = own[each]
            layer.merged_adapters.clear()
            setattr(parent, name, layer)


def merge(encoder: "Encoder") -> None:
    """Merge the adapter for good."""
    _merge(adapter_layers(encoder))
    del adapted(encoder).peft_config
    encoder.adapter_base = None
    encoder.requires_grad_(True)


@torch.no_grad()
def _merge(layers: Sequence[tuple[nn.Module, str, Any]]) -> None:
    for parent, name, layer in layers:
        layer.merge(safe_merge=True)  # into a copy
        setattr(parent, name, layer.get_base_layer())


def go_on(
    encoder: "Encoder", *, rank: int, alpha: float | None, dropout: float, targets: Sequence[str]
) -> None:
    """Check that an adapter that was loaded is the one that is asked for; its dropout may be another.

    Raises:
        UserError: it has another rank, scale or other targets.
    """
    config = adapted(encoder).peft_config[NAME]
    if rank != config.r or (alpha or config.lora_alpha) != config.lora_alpha:
        raise UserError(
            f"--lora-rank: expected the rank {config.r} and the scale {config.lora_alpha:g} of the adapter that is gone on with, got "
            f"{rank}"
            + (f" and {alpha:g}" if alpha else "")
            + "; give these, or begin a new one on the merged model beside it"
        )
    if targets and set(targets) != set(config.target_modules):
        raise UserError(
            f"--lora-targets: expected those of the adapter that is gone on with, {' '.join(sorted(config.target_modules))}, got "
            f"{' '.join(targets)}; leave --lora-targets out"
        )
    config.lora_dropout = dropout
    for _, _, layer in adapter_layers(encoder):
        layer.lora_dropout[NAME] = nn.Dropout(dropout) if dropout else nn.Identity()


def adapter_tensors(encoder: nn.Module) -> Mapping[str, torch.Tensor]:
    """Weights of the adapter, by the names of peft's files."""
    found = peft().get_peft_model_state_dict(adapted(encoder), adapter_name=NAME)
    return {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in found.items()}
