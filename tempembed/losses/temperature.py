"""The temperatures of a step as one tensor; learned ones are parameters."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.objectives.temperature import LEAST, MOST
from tempembed.objectives.term import Terms


class Temperatures(nn.Module):
    """Fixed, scheduled and learned temperatures of an objective's terms.

    A learned one is kept as log(1/tau), one parameter per term, between 1/`MOST` and 1/`LEAST`. Give it no weight
    decay: that would pull tau to 1. It stands outside of what DDP wraps, so its gradient is averaged over ranks by
    `average_gradients`, once a step; with the losses of local rows that mean is exact (docs/design/gradients.md).
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self._terms = terms
        self._learned = [t for t, term in enumerate(terms) if term.course and term.course.is_learned]
        start = torch.tensor([terms[t].temperature for t in self._learned])
        self.log_scale = nn.Parameter(-start.log(), requires_grad=bool(self._learned))

    @property
    def moving(self) -> list[int]:
        """Terms whose temperature is not fixed."""
        return [t for t, term in enumerate(self._terms) if term.course]

    @property
    def is_learned(self) -> bool:
        """Whether there is anything to train."""
        return bool(self._learned)

    def forward(self, progress: float) -> Float[Tensor, " T"]:
        """Temperatures of all terms after this share of the run (0 to 1)."""
        values = [term.course.at(progress) if term.course else term.temperature for term in self._terms]
        temperatures_T = self.log_scale.new_tensor(values)
        if not self._learned:
            return temperatures_T
        places = torch.tensor(self._learned, device=self.log_scale.device)
        return temperatures_T.index_put((places,), (-self.log_scale).exp())

    @torch.no_grad()
    def clamp(self) -> None:
        """Back between the bounds, after an optimiser's step."""
        if self._learned:
            low, high = torch.tensor([1 / MOST, 1 / LEAST]).log().tolist()
            self.log_scale.clamp_(low, high)
