"""How near to its positive a candidate may come before it is taken for a false negative."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Margin:
    """How far a candidate's similarity s must stay below the positive's p: masked where s > p - absolute - relative |p|.

    A negative `absolute` lets it be above by so much: -0.1 is the rule of Qwen3 Embedding (Zhang et al. 2025, arXiv:2506.05176,
    eq. 2). With a second model's similarities and no margin it is that of GISTEmbed (Solatorio 2024, arXiv:2402.16829). A `relative`
    of 0.05 is NV-Retriever's perc-to-positive of 95 % (Moreira et al. 2024, arXiv:2407.15831).
    """

    absolute: float = 0.0
    relative: float = 0.0

    def highest(self, positive: Tensor) -> Tensor:
        """The most that a candidate may have, for each positive's similarity."""
        return positive - self.absolute - self.relative * positive.abs()
