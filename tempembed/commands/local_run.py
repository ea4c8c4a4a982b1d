"""What commands that train in this process share: their flags, where they write, their reports, and how they stop."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempembed.system.cache import cache_dir
from tempembed.system.console import StepProgress, say
from tempembed.system.disk import blamed_on_disk
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.tracker import Tracker

STOPPING = "stopping at the next report, with a checkpoint; again to stop at once"


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """Flags of every run in this process."""

    resume: bool = False
    """Continue from the newest checkpoint in --output; what changes the result must be the same: the content of the data and of the
    encoder, the objective, the optimiser, the seed and the steps."""
    stop_after: int | None = None
    """Stop at this step with a checkpoint, as if interrupted; continue with --resume."""
    quiet: bool = False
    """Say nothing of the progress."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse to write over what an earlier run left."""
    check_place(output, "--output")
    left = sorted(path.name for path in output.iterdir() if path.name != ".lock") if output.is_dir() else []
    if left and not resume:
        raise UserError(
            f"--output {output}: expected a new or empty folder, found {', '.join(left[:5])}; "
            "add --resume to go on with an earlier run there, or choose another folder"
        )


def run_here(command: LocalRun, output: str, work: Callable[[Path, TrackingSettings], None]) -> None:
    """Check a run's flags, and do its work with its folder and its trackers.

    Raises:
        UserError: a flag out of its range, a folder of another run, a tracker that does not answer.
    """
    folder = Path(output).expanduser()
    if command.stop_after is not None and command.stop_after < 1:
        raise UserError(f"--stop-after: expected >= 1, got {command.stop_after}")
    check_output(folder, resume=command.resume)
    tracking = command.tracking.resolved()
    with blamed_on_disk(folder, cache_dir()):
        work(folder, tracking)
    from tempembed.system.memory import give_back

    give_back()  # a notebook goes on


def reporter(output: Path, trackers: Sequence[Tracker]) -> Callable[[dict[str, Any]], None]:
    """Takes the loop's reports: to the trackers, with what the machine does, and to the person who started the run."""
    from tempembed.tracking.machine import Machine

    machine, shown = Machine(output), StepProgress()

    def report(metrics: dict[str, Any]) -> None:
        metrics = {**metrics, **machine.metrics()}
        for tracker in trackers:
            tracker.log("", metrics)
        shown(metrics)

    return report


def end_stopped(signal_number: int | None) -> None:
    """Say that a run was stopped, and end the process if a signal did it."""
    say("stopped with a checkpoint; go on with --resume")
    if signal_number:
        sys.exit(128 + signal_number)
