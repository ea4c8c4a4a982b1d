"""Which reports of a run go through Ray, where each one waits for the controller's next poll."""

import math
from collections.abc import Collection, Mapping
from typing import Any

TELL_SECONDS = 0.5
"""Seconds between two reports through Ray. Ray Train takes one at each poll, which blocks a worker that has a second one pending."""


class Pace:
    """Passes on the first report, the last, one that stops the run, those of the steps `always` and of evaluations, and of the
    others two a second.

    All ranks decide alike, because Ray's report is a barrier: the decision goes by the time that the ranks agreed on.
    """

    def __init__(self, always: Collection[int] = ()) -> None:
        self._always, self._last = always, -math.inf

    def is_due(self, metrics: Mapping[str, Any]) -> bool:
        """Whether this report of the training loop goes through Ray."""
        seconds, step = metrics["train/seconds"], metrics["step"]
        ends = step == metrics["num_steps"] or "stopping" in metrics or "is_over" in metrics
        always = ends or step in self._always or "probe/best_step" in metrics
        if due := always or seconds - self._last >= TELL_SECONDS:
            self._last = seconds
        return due
