"""Drives a run of any stage on Ray Train workers: its trackers, its progress, signals, and how it ends."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ray_jobs.capacity import Workers
from ray_jobs.metrics import RunMetrics, export_backlog
from ray_jobs.progress import Progress, followed
from ray_jobs.worker import STOP
from tempembed.run.folder import SPOOL, RunFolder
from tempembed.system.console import first_signal
from tempembed.system.errors import UserError
from tempembed.tracking.delivery import delivery
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import Spool, SpooledRun
from tempembed.tracking.tracker import TrackedRun

PROGRESS = "progress.log"
STOPPING = "stopping with a checkpoint; run the same command again to resume, Ctrl-C again to stop at once"


class Settings(Protocol):
    """Settings of a run of any stage."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values by the names of the flags."""


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[S]):
    """A run as its command asks for it."""

    settings: S
    """What is trained."""
    workers: Workers
    tracking: TrackingSettings
    """Resolved."""
    folder: RunFolder
    """Locked."""
    identity: str
    """What trackers know it by."""
    fresh: bool
    """Throw away what an earlier run left."""

    @property
    def output(self) -> Path:
        """Folder of the run."""
        return self.folder.folder

    def open(self, unlike: Callable[[dict[str, Any]], str], **content: Any) -> bool:
        """Write what the run is into its folder, or go on with the one that is there; whether it goes on.

        Args:
            unlike: what makes the one that is there another one.
            content: what its data is, beside id and settings.

        Raises:
            UserError: the folder holds another one.
        """
        whole = {"id": self.identity, "settings": self.settings.to_dict(), **content}
        goes_on = self.folder.open(whole, unlike=unlike, fresh=self.fresh)
        if goes_on:
            print(f"going on with {self.output}", flush=True)
        return goes_on


def drive_to_end(
    asked: Asked[Any],
    *,
    begin: Callable[[SpooledRun], None],
    train: Callable[[Path, Sequence[Any]], None],
    end: Callable[[SpooledRun], None],
) -> None:
    """Train and report.

    Args:
        asked: the run.
        begin: tells trackers what the run is of.
        train: takes the spool's file and callbacks for Ray Train's controller; returns when the run is done, or was asked to stop.
        end: tells of the finished model.

    Raises:
        UserError: the run failed.
        SystemExit: the run was asked to stop.
    """
    output, tracking = asked.output, asked.tracking
    run = TrackedRun(
        name=output.name, folder=output, settings=asked.settings.to_dict(), identity=asked.identity,
        mlflow_uri=tracking.mlflow_uri, experiment=tracking.experiment, say=partial(print, flush=True),
    )  # fmt: skip
    spool = Spool(output / SPOOL)
    root, status = spool.run(), "FAILED"
    root.start(run.settings)
    begin(root)

    def stop_in_order() -> None:
        (output / STOP).touch()  # the workers stop at their next report, with a checkpoint
        if status != "FINISHED":
            root.finish("KILLED")  # now: a Ray of somebody else kills three seconds after `ray job stop`

    with ExitStack() as at_the_end:
        signal_number = at_the_end.enter_context(first_signal(STOPPING, stop_in_order))
        couriers = at_the_end.enter_context(delivery(spool, run, tracking.trackers))
        export_backlog(couriers.get("mlflow"), run=output.name)
        at_the_end.callback(lambda: root.finish(status))
        at_the_end.enter_context(followed(output / PROGRESS))
        try:
            if not signal_number():
                train(spool.path, [Progress(output / PROGRESS), RunMetrics(run=output.name)])
        except UserError:
            status = "KILLED" if signal_number() else "FAILED"
            raise
        if number := signal_number():
            status = "KILLED"
            raise SystemExit(128 + number)
        end(root)
        status = "FINISHED"
    print(f"model: {output}", flush=True)
