"""Which step of a run is the best by a metric that is measured meanwhile, and when to stop looking for a better one."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.reduce import gathered_objects
from tempembed.run.checkpoint import DamagedError, load_weights

Probe = Callable[[], Mapping[str, float]]
"""Measures the modules as they are; called on rank 0."""
EVALUATIONS = "evaluations"
"""Name under which a checkpoint has them."""
EVALUATIONS_OF_A_RUN = 10


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the step that a run hands over is chosen."""

    metric: str
    """Key of the probe's metrics; more is better."""
    every: int = 0
    """Steps between two evaluations; the last step is evaluated too. 0: ten in a run."""
    patience: int = 0
    """The run stops after so many evaluations in a row that are no better than the best; 0: never."""
    with_start: bool = False
    """Evaluate the modules before the first step as well, for comparison: they are not handed over."""


class Best:
    """The evaluations of a run so far, and what follows of them; all ranks hold the same.

    The best step's checkpoint is an ordinary one that is kept beside the newest, so it is written whole or not at all, and says
    itself, as every checkpoint does, which evaluations led to it. A run that is resumed from any checkpoint therefore
    evaluates the same steps again and ends with the same best one.

    Args:
        selection: how it is chosen.
        num_steps: of the run.
        evaluations: (step, value) of those before, ascending.
    """

    def __init__(
        self, selection: Selection, num_steps: int, evaluations: list[tuple[int, float]] | None = None
    ) -> None:
        self.selection, self._num_steps = selection, num_steps
        self._every = selection.every or max(1, round(num_steps / EVALUATIONS_OF_A_RUN))
        self.evaluations = list(evaluations or ())
        self._last, self._has_said_cost = time.monotonic(), False

    def is_due(self, done: int) -> bool:
        """Whether to evaluate after so many steps; after none, if the start is to be."""
        if not done:
            return self.selection.with_start and not self.evaluations
        return done % self._every == 0 or done == self._num_steps

    def add(self, done: int, metrics: Mapping[str, float]) -> None:
        """An evaluation."""
        self.evaluations.append((done, metrics[self.selection.metric]))

    def step(self, until: int | None = None) -> int | None:
        """The best step, the first of equals; None if none was evaluated.

        Args:
            until: as it was known after so many steps.
        """
        able = [(value, -step) for step, value in self.evaluations if 0 < step <= (until or self._num_steps)]
        return -max(able)[1] if able else None

    @property
    def since(self) -> int:
        """Evaluations after the best one."""
        best = self.step()
        return sum(best is not None and step > best for step, _ in self.evaluations)

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the run is to stop here."""
        return 0 < self.selection.patience <= self.since

    def metrics(self) -> dict[str, float]:
        """What a report says beside what was measured."""
        best = self.step()
        return {} if best is None else {"probe/best_step": best, "probe/evaluations_since": self.since}

    def notes(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {EVALUATIONS: [list(each) for each in self.evaluations]}

    def told(self, shipped: int, done: int, why: str) -> dict[str, Any]:
        """For `trained.json`: the step whose weights were handed over, and why."""
        return {
            "selection": {
                "metric": self.selection.metric, "step": shipped, "why": why, "trained_steps": done,
                "num_steps": self._num_steps, EVALUATIONS: [list(each) for each in self.evaluations],
            }
        }  # fmt: skip

    def tell(
        self, done: int, metrics: Mapping[str, float], seconds: float, say: Callable[[str], None]
    ) -> None:
        """Say what was measured and, the first time in training, what it costs."""
        metric = self.selection.metric
        say(f"step {done}/{self._num_steps}  {metric} {metrics[metric]:.4f}")
        between, self._last = max(time.monotonic() - self._last - seconds, 1e-9), time.monotonic()
        if done and not self._has_said_cost:
            self._has_said_cost = True
            say(
                f"this evaluation took {seconds:.1f} s, the training before it {between:.1f} s: "
                f"{seconds / (seconds + between):.0%} of the time (--evaluate-every)"
            )


def measured(probe: Probe | None) -> tuple[dict[str, float], float]:
    """What rank 0 measured, known to all ranks, and its seconds."""
    began = time.monotonic()
    own = dict(probe()) if probe and rank_and_world_size()[0] == 0 else {}
    found = gathered_objects(own)[0]
    return found, time.monotonic() - began


def restored_evaluations(notes: Mapping[str, Any]) -> list[tuple[int, float]]:
    """The evaluations that a checkpoint has noted."""
    return [(int(step), float(value)) for step, value in notes.get(EVALUATIONS, ())]


def hand_over(
    best: Best, done: int, checkpoints: Path, modules: nn.ModuleDict, say: Callable[[str], None]
) -> dict[str, Any]:
    """Put the best step's weights into the modules, on rank 0; what `trained.json` says of it.

    A checkpoint that was damaged since costs the choice, not the run: the last step is handed over, and that is said.
    """
    step = best.step()
    values = dict(best.evaluations)
    if step is None or step == done:
        return best.told(done, done, "the last step is the best" if step else "no step was evaluated")
    try:
        load_weights(checkpoints, step, modules)
    except DamagedError as error:
        say(f"the best step, {step}, cannot be handed over: {error}; the last one, {done}, is")
        return best.told(done, done, f"the best step, {step}, is damaged")
    metric = best.selection.metric
    why = f"best {metric} {values[step]:.4f}"
    say(f"handed over: the model of step {step} of {best._num_steps}, {why}")
    return best.told(step, done, why)
