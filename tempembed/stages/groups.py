"""AdamW's groups of a tower's parameters: rates by layer, weight decay by kind."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from tempembed.encoders.layers import depths
from tempembed.settings.optimizer import OptimizerSettings


def groups_by_depth(
    tower: nn.Module, parameters: Sequence[nn.Parameter], peak: float, settings: OptimizerSettings
) -> list[dict[str, Any]]:
    """`parameters` of a tower in groups of one rate and one weight decay, the highest rate first.

    The last layer, and what follows it, has `peak`, each layer below it `layer_decay` times the rate of the one above, and
    embeddings the lowest (Howard and Ruder 2018, arXiv:1801.06146, section 3.2; Clark et al. 2020, arXiv:2003.10555).

    Raises:
        UserError: a layer decay, of an encoder without layers.
    """
    of_parameter = depths(tower, "--layer-decay") if settings.layer_decay != 1 else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        depth, num = of_parameter.get(id(parameter), (0, 0))
        is_decayed = settings.decayed == "all" or parameter.ndim > 1
        groups.setdefault((max(0, num - depth), is_decayed), []).append(parameter)
    return [
        {
            "params": own,
            "peak": peak * settings.layer_decay**below,
            "weight_decay": settings.weight_decay if is_decayed else 0.0,
        }
        for (below, is_decayed), own in sorted(groups.items(), key=lambda each: (each[0][0], not each[0][1]))
    ]
