"""Watches of a training run: not-finite values, the spectrum of embeddings, the influence of negatives."""

from collections.abc import Callable, Sequence

import torch

from tempembed.geometry.bits import training_margin
from tempembed.geometry.negatives import training_influence
from tempembed.geometry.streaming import SpectrumWatch
from tempembed.parallel.reduce import gathered_objects, sum_over_ranks
from tempembed.run.stage import StepOutput
from tempembed.system.errors import UserError


class NonFiniteLossError(UserError):
    """A loss or an embedding became NaN or infinite."""


class NonFinite:
    """Finds the first step with a NaN or an infinity, without waiting for the device in every step.

    Args:
        names: of the parts of `observed["losses"]`, in words.
        describe: (step, rank, row of `observed["embeddings"]`) in words.
        device: of the steps.
    """

    def __init__(
        self, names: Sequence[str], describe: Callable[[int, int, int], str], device: torch.device
    ) -> None:
        self._names, self._describe = names, describe
        self._step = torch.tensor(-1, device=device)
        self._row = torch.tensor(-1, device=device)
        self._losses_T = torch.zeros(len(names), device=device)

    @torch.no_grad()
    def observe(self, step: int, output: StepOutput) -> None:
        """Remember the first bad step: its first bad embedding and its losses."""
        embeddings_MD, losses_T = output.observed["embeddings"], output.observed["losses"]
        bad_M = ~embeddings_MD.sum(1, dtype=torch.float32).isfinite()
        any_bad = bad_M.any()
        first = (any_bad | ~losses_T.isfinite().all()) & (self._step < 0)
        self._step = torch.where(first, step, self._step)
        self._row = torch.where(first & any_bad, bad_M.long().argmax(), self._row)
        self._losses_T = torch.where(first, losses_T, self._losses_T)

    def check(self) -> None:
        """Raise on every rank if any rank saw something.

        Raises:
            NonFiniteLossError: names the step and, of an embedding, rank and row, else the term.
        """
        seen = gathered_objects((int(self._step), int(self._row), self._losses_T.tolist()))
        steps = [step for step, _, _ in seen if step >= 0]
        if not steps:
            return
        at = min(steps)
        advice = "lower --learning-rate, raise the temperature, or look for damaged data or weights"
        for rank, (step, row, _) in enumerate(seen):
            if step == at and row >= 0:
                raise NonFiniteLossError(
                    f"step {at + 1}: expected finite embeddings, got NaN or infinity on rank {rank} for "
                    f"{self._describe(at, rank, row)}; {advice}"
                )
        losses_T = torch.tensor([losses for step, _, losses in seen if step == at]).mean(0)
        index = int(losses_T.isfinite().long().argmin())
        raise NonFiniteLossError(
            f"step {at + 1}: expected a finite loss, got {losses_T[index].item()} for the term "
            f"{self._names[index]}; {advice}"
        )

    def report(self, output: StepOutput) -> dict[str, float]:
        """Nothing."""
        return {}


class Spectrum:
    """Intrinsic dimension as a training curve (`SpectrumWatch`), of `observed["documents"]`."""

    def __init__(self, width: int, global_batch_size: int) -> None:
        self._windows = SpectrumWatch(width, global_batch_size, sum_over_ranks)

    def observe(self, step: int, output: StepOutput) -> None:
        """Takes one step in sixteen."""
        self._windows.observe(step, output.observed["documents"])

    def check(self) -> None:
        """Nothing can be wrong."""

    def report(self, output: StepOutput) -> dict[str, float]:
        """Measures of the last full window, once."""
        return self._windows.report()


class NegativeInfluence:
    """How unevenly negatives share the gradient (paper, Figure 1), and how far documents stand above them for what bits blur.

    Of `observed["queries"]` and `["documents"]`.
    """

    def observe(self, step: int, output: StepOutput) -> None:
        """Nothing: only reported steps are looked at."""

    def check(self) -> None:
        """Nothing can be wrong."""

    def report(self, output: StepOutput) -> dict[str, float]:
        """Effective negatives and the margin of the newest step of this rank."""
        pairs = output.observed["queries"], output.observed["documents"]
        return {**training_influence(*pairs), **training_margin(*pairs)}


class SourceLoss:
    """Mean objective of the rows of each source since the last report, of `observed["row_losses"]` and `["row_sources"]`.

    Args:
        names: of the sources, as metrics have them.
        device: of the steps.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = names
        self._sums_2S = torch.zeros(2, len(names), dtype=torch.float64, device=device)

    @torch.no_grad()
    def observe(self, step: int, output: StepOutput) -> None:
        """Add the rows of this rank."""
        losses_B, sources_B = output.observed["row_losses"].double(), output.observed["row_sources"]
        self._sums_2S.index_add_(1, sources_B, torch.stack([losses_B, torch.ones_like(losses_B)]))

    def check(self) -> None:
        """Nothing can be wrong."""

    def report(self, output: StepOutput) -> dict[str, float]:
        """Means over the rows of all ranks; a source without rows has none."""
        sums_2S = self._sums_2S.clone()
        self._sums_2S.zero_()
        sum_over_ranks(sums_2S)
        found = zip(self._names, *sums_2S.tolist(), strict=True)
        return {f"train/loss/source/{name}": total / num for name, total, num in found if num}
