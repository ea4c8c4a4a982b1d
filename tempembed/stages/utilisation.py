"""Model FLOP utilisation: counted operations of the steps against what the machine does of bare products."""

import time

import numpy as np
import torch
from torch import nn

from tempembed.encoders.layers import layers_of
from tempembed.encoders.masked_lm import MaskedLM
from tempembed.inputs.sequences import MaskedTexts
from tempembed.parallel.reduce import sum_over_ranks
from tempembed.run.stage import StepOutput

STEP = 6
"""Operations of a weight in a step, for each token that meets it: a multiplication and an addition in the forward, and twice in the
backward (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)."""


def operations(masked: MaskedLM, texts: MaskedTexts) -> float:
    """Counted operations of a step on these texts: weights of products, and attention's products; nothing that is computed again.

    6 (transformer x tokens + head x masked tokens) + 12 layers x width x sum of (tokens of a text x those that a token sees).
    """
    transformer = product_weights(masked.base)
    head = product_weights(masked.model) - transformer
    sizes = np.diff(texts.tokens.offsets)
    config = masked.model.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(layers_of(masked.base))
    seen = 0.0
    for kind in kinds:
        most = 2 * config.sliding_window + 1 if "sliding" in kind else sizes.max(initial=0)
        seen += float((sizes * np.minimum(sizes, most)).sum())
    predicted = len(texts.targets) if masked.masked_only else len(texts.tokens.ids)
    return (
        STEP * (transformer * len(texts.tokens.ids) + head * predicted) + 2 * STEP * config.hidden_size * seen
    )


def product_weights(model: nn.Module) -> int:
    """Weights of linear layers, a table that is the head's counted there."""
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


class Utilisation:
    """`train/mfu`: counted operations since the last report over those that bare products would have done meanwhile.

    Time in which something else is measured or saved counts as well.

    Args:
        rate: operations of bare products in a second, of this process.
        device: of the steps.
    """

    def __init__(self, rate: float, device: torch.device) -> None:
        self.rate, self._device = rate, device
        self.begin()

    def begin(self) -> None:
        """The steps begin now."""
        self._began, self._done = time.perf_counter(), 0.0

    def observe(self, step: int, output: StepOutput) -> None:
        """Count a step."""
        self._done += float(output.observed["operations"])

    def check(self) -> None:
        """Nothing can be wrong."""

    def report(self, output: StepOutput) -> dict[str, float]:
        """The share, over all ranks."""
        possible = self.rate * (time.perf_counter() - self._began)
        both = torch.tensor([self._done, possible], dtype=torch.float64, device=self._device)
        sum_over_ranks(both)
        done, possible = both.tolist()
        self.begin()
        return {"train/mfu": done / possible, "train/gflops": done / possible * self.rate / 1e9}
