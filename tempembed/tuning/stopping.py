"""What early stopping saved, from the records of a sweep's trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Savings:
    """Against the same trials, all run to their end."""

    trials: int
    """That ended, one way or the other."""
    stopped: int
    """Of them, before their end."""
    steps: int
    """Steps of all of them, had none been stopped."""
    steps_saved: int
    seconds: float
    """That they took."""
    seconds_saved: float
    """What the stopped ones would have taken longer, at the mean of the finished: training, and the measurement at the end."""

    def __str__(self) -> str:
        return (
            f"early stopping ended {self.stopped} of {self.trials} trials: {self.steps_saved:,} of {self.steps:,} steps not "
            f"trained ({self.steps_saved / self.steps:.0%}), about {self.seconds_saved:.0f} s of "
            f"{self.seconds + self.seconds_saved:.0f} s saved ({self.seconds_saved / (self.seconds + self.seconds_saved):.0%})"
        )


def savings(records: Sequence[dict[str, Any]], num_steps: int) -> Savings | None:
    """What early stopping saved; None if it stopped none.

    Args:
        records: of the trials: status, seconds, and of stopped ones stopped_at.
        num_steps: of a trial that runs to its end.
    """
    finished = [r for r in records if r["status"] == "FINISHED"]
    stopped = [r for r in records if r["status"] == "STOPPED"]
    if not (finished and stopped):
        return None
    whole = sum(r["seconds"] for r in finished) / len(finished)
    return Savings(
        trials=len(finished) + len(stopped),
        stopped=len(stopped),
        steps=num_steps * (len(finished) + len(stopped)),
        steps_saved=sum(num_steps - r["stopped_at"] for r in stopped),
        seconds=sum(r["seconds"] for r in finished + stopped),
        seconds_saved=sum(max(0.0, whole - r["seconds"]) for r in stopped),
    )
