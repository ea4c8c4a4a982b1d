"""Notices the first step with a NaN or an infinity, without waiting for the device in every step."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.objective import Terms
from tempembed.parallel.gather import rank_and_world_size
from tempembed.system.errors import UserError


class NonFiniteLossError(UserError):
    """A loss or an embedding became NaN or infinite."""


class NonFiniteWatch:
    """Call `observe` every step and `check` where the host waits anyway, at the same steps on all ranks."""

    def __init__(self, terms: Terms, device: torch.device) -> None:
        self._terms = terms
        self._step = torch.tensor(-1, device=device)
        self._text = torch.tensor(-1, device=device)
        self._losses_T = torch.zeros(len(terms), device=device)

    @torch.no_grad()
    def observe(self, step: int, embeddings_MD: Float[Tensor, "M D"], losses_T: Float[Tensor, " T"]) -> None:
        """Remember the first bad step: its first bad text and its losses."""
        bad_M = ~embeddings_MD.sum(1, dtype=torch.float32).isfinite()
        any_bad = bad_M.any()
        first = (any_bad | ~losses_T.isfinite().all()) & (self._step < 0)
        self._step = torch.where(first, step, self._step)
        self._text = torch.where(first & any_bad, bad_M.long().argmax(), self._text)
        self._losses_T = torch.where(first, losses_T, self._losses_T)

    def check(self, describe: Callable[[int, int, int], str]) -> None:
        """Raise on every rank if any rank saw something.

        Args:
            describe: (step, rank, text) in words, for an embedding that is not finite.

        Raises:
            NonFiniteLossError: names the step and, of an embedding, rank and row, else the term.
        """
        _, world_size = rank_and_world_size()
        mine = (int(self._step), int(self._text), self._losses_T.tolist())
        seen = [mine]
        if world_size > 1:
            seen = [mine] * world_size
            dist.all_gather_object(seen, mine)
        steps = [step for step, _, _ in seen if step >= 0]
        if not steps:
            return
        at = min(steps)
        advice = "lower --learning-rate, raise the temperature, or look for damaged data or weights"
        for rank, (step, text, _) in enumerate(seen):
            if step == at and text >= 0:
                raise NonFiniteLossError(
                    f"step {at + 1}: expected finite embeddings, got NaN or infinity on rank {rank} for "
                    f"{describe(at, rank, text)}; {advice}"
                )
        losses_T = torch.tensor([losses for step, _, losses in seen if step == at]).mean(0)
        index = int(losses_T.isfinite().long().argmin())
        raise NonFiniteLossError(
            f"step {at + 1}: expected a finite loss, got {losses_T[index].item()} for the term "
            f"{self._terms[index]}; {advice}"
        )
