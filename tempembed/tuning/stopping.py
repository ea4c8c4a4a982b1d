"""What early stopping saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from tempembed.tuning.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Savings:
    """Against the same trials, all run to their end."""

    trials: int
    """Trials that finished or were stopped."""
    stopped: int
    """Trials that were stopped before their end."""
    steps: int
    """Steps of all of them, had none been stopped."""
    steps_saved: int
    seconds: float
    """Seconds that they took."""
    seconds_saved: float
    """What the stopped ones would have taken longer, at the mean of the finished: training, and the measurement at the end."""

    def __str__(self) -> str:
        return (
            f"early stopping ended {self.stopped} of {self.trials} trials: {self.steps_saved:,} of {self.steps:,} steps not "
            f"trained ({self.steps_saved / self.steps:.0%}), about {self.seconds_saved:.0f} s of "
            f"{self.seconds + self.seconds_saved:.0f} s saved ({self.seconds_saved / (self.seconds + self.seconds_saved):.0%})"
        )


def savings(trials: Sequence[Trial], num_steps: int) -> Savings | None:
    """What early stopping saved; None if it stopped none.

    Args:
        trials: of one sweep.
        num_steps: of a trial that runs to its end.
    """
    finished = [trial for trial in trials if trial.is_finished]
    stopped = [trial for trial in trials if trial.status == "STOPPED"]
    if not (finished and stopped):
        return None
    whole = sum(trial.seconds or 0 for trial in finished) / len(finished)
    return Savings(
        trials=len(finished) + len(stopped),
        stopped=len(stopped),
        steps=num_steps * (len(finished) + len(stopped)),
        steps_saved=sum(num_steps - (trial.stopped_at or 0) for trial in stopped),
        seconds=sum(trial.seconds or 0 for trial in finished + stopped),
        seconds_saved=sum(max(0.0, whole - (trial.seconds or 0)) for trial in stopped),
    )
