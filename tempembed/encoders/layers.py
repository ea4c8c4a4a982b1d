"""The layers of a transformer, whichever library class it is: what is frozen, what learns slower, what is computed again."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from tempembed.system.errors import UserError


def transformers_of(encoder: nn.Module, what: str) -> list[Any]:
    """The transformers in an encoder, one for each tower that has its own.

    Args:
        encoder: that holds them.
        what: the flag that asks for them.

    Raises:
        UserError: it has none, as a static table, or one without layers.
    """
    from transformers import PreTrainedModel  # seconds of import, and a static table has none

    found, seen = [], set[int]()
    for module in encoder.modules():
        if isinstance(module, PreTrainedModel) and id(module) not in seen:
            seen |= set(map(id, module.modules()))
            found.append(module)
    if not found or not all(map(_lists, found)):
        raise UserError(f"{what}: expected a transformer, got an encoder without layers; leave {what} out")
    return found


def layers_of(transformer: nn.Module) -> nn.ModuleList:
    """Its layers, from the first: the list of modules that holds most parameters, and the outermost of such."""
    return max(_lists(transformer), key=lambda each: sum(p.numel() for p in each.parameters()))


def _lists(transformer: nn.Module) -> list[nn.ModuleList]:
    return [module for module in transformer.modules() if isinstance(module, nn.ModuleList)]


def depths(encoder: nn.Module, what: str) -> dict[int, tuple[int, int]]:
    """(depth, number of layers) by the id of each parameter of the encoder's transformers.

    Embeddings have depth 0: what is a table, or comes before the layers. The layers have 1, 2, …; what comes after them has
    one more than the last.
    """
    found: dict[int, tuple[int, int]] = {}
    for transformer in transformers_of(encoder, what):
        layers = layers_of(transformer)
        for depth, layer in enumerate(layers, 1):
            found |= {id(parameter): (depth, len(layers)) for parameter in layer.parameters()}
        tables = {id(p) for m in transformer.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        for parameter, is_before in _around(transformer, layers):
            depth = 0 if is_before or id(parameter) in tables else len(layers) + 1
            found.setdefault(id(parameter), (depth, len(layers)))
    return found


def _around(transformer: nn.Module, layers: nn.ModuleList) -> Iterator[tuple[nn.Parameter, bool]]:
    """Parameters in the order in which they are registered, and whether that is before the layers."""
    inside = {id(parameter) for parameter in layers.parameters()}
    is_before = True
    for parameter in transformer.parameters():
        is_before = is_before and id(parameter) not in inside
        yield parameter, is_before


def freeze_layers(encoder: nn.Module, num: int) -> None:
    """Leave the embeddings and the first `num` layers of each transformer as they are.

    Raises:
        UserError: there are no so many layers.
    """
    of_parameter = depths(encoder, "--freeze-layers")
    if num > (least := min(layers for _, layers in of_parameter.values())):
        raise UserError(
            f"--freeze-layers: expected at most the {least} layers that the encoder has, got {num}"
        )
    for parameter in encoder.parameters():
        if id(parameter) in of_parameter and of_parameter[id(parameter)][0] <= num:
            parameter.requires_grad_(False)


def checkpoint_activations(encoder: nn.Module) -> None:
    """In training each layer keeps its input only, and the backward computes the rest again, with the same dropout.

    Raises:
        UserError: the model's class cannot.
    """
    for transformer in transformers_of(encoder, "--gradient-checkpointing"):
        # transformers 5.23 gave it this name, and warns of the old one
        enable = (
            getattr(transformer, "activation_checkpointing_enable", None)
            or transformer.gradient_checkpointing_enable
        )
        try:
            enable({"use_reentrant": False})
        except ValueError as error:
            raise UserError(
                f"--gradient-checkpointing: expected a transformer that can compute its layers again, got a "
                f"{type(transformer).__name__}, which cannot; leave --gradient-checkpointing out and add --gradient-cache"
            ) from error
