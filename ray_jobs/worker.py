"""What one process does of a run: train with the others, then, on rank 0, what follows. Which stage is trained, the assignment knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray.train.torch

from ray_jobs.capacity import Workers
from ray_jobs.pace import Pace
from tempembed.system.errors import SilentRankError

STOP = "stop"
"""A file of this name in a run's folder asks its workers to stop at their next report, with a checkpoint."""
HEARTBEATS = ".ranks"
"""Folder of the ranks' heartbeats, in a run's folder."""
NOTES = "notes"
"""Key in a report: lines of a worker for the person who started the run."""
Tell = Callable[[dict[str, Any]], None]
"""Takes the reports that are due."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process stands among those that share a run."""

    rank: int = 0
    world_size: int = 1
    on_machine: int = 1
    """Processes of the run on this machine."""


class Work(Protocol):
    """The part of a run that one process does."""

    def train(self, tell: Tell) -> None:
        """Train to the end, or until the run is asked to stop."""

    def measure(self) -> None:
        """What follows once it is trained; on rank 0."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the processes of a run are asked to do; a stage adds what it needs."""

    output: Path
    """Folder of the run; its last part is the run's name."""
    spool: Path
    """File of the records for trackers."""
    run: str = ""
    """Name of the run in the spool; empty for the root."""
    resume: bool = False
    """Continue from the newest checkpoint in `output`, if there is one."""
    probe_at: tuple[int, ...] = ()
    """Steps after which the model is measured in mid-training."""

    def begin(self, workers: Workers, place: Place) -> Work:
        """The work of the process at `place`."""
        raise NotImplementedError


class Reports:
    """Takes the reports of the loop: to metrics.jsonl and the spool on rank 0, and through Ray those that are due."""

    def __init__(self, assignment: Assignment, place: Place, tell: Tell) -> None:
        from tempembed.tracking.jsonl import METRICS, JsonlTracker
        from tempembed.tracking.machine import Machine
        from tempembed.tracking.spool import Spool
        from tempembed.tracking.tracker import Tracker

        self._run, self._tell = assignment.run, tell
        self._pace, self._machine = Pace(assignment.probe_at), Machine(assignment.output.parent)
        self._trackers: list[Tracker] = []
        if place.rank == 0:
            self._trackers = [JsonlTracker(assignment.output / METRICS), Spool(assignment.spool)]
        self._notes: list[str] = []
        self.last: dict[str, Any] = {}

    def note(self, line: str) -> None:
        """A line for the person who started the run; it goes with the next report that is due."""
        self._notes.append(line)

    def __call__(self, metrics: dict[str, Any]) -> None:
        """A report."""
        self.last.update(metrics)
        metrics = {**metrics, **self._machine.metrics()}
        for (
            tracker
        ) in self._trackers:  # on disk before the next checkpoint is: whoever is killed, no step is missing
            tracker.log(self._run, metrics)
        if self._pace.is_due(metrics):
            self._tell({**metrics, NOTES: list(self._notes)} if self._notes else metrics)
            self._notes.clear()


def worker(config: dict[str, Any]) -> None:
    """Do the work of one Ray Train worker.

    Args:
        config: `assignment` and `workers`.

    Raises:
        SilentRankError: a worker does not answer the others.
    """
    import torch

    from tempembed.parallel.heartbeat import Heartbeat, silent_ranks

    assignment, workers = config["assignment"], config["workers"]
    if torch.cuda.is_available() and workers.use_gpu:
        torch.cuda.set_device(ray.train.torch.get_device())
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    place = Place(rank=rank, world_size=world_size, on_machine=context.get_local_world_size())
    work = assignment.begin(workers, place)
    ranks, timeout = assignment.output / HEARTBEATS, workers.collective_timeout
    with Heartbeat(ranks, rank):
        try:
            work.train(ray.train.report)
        except RuntimeError as error:
            if silent := silent_ranks(ranks, world_size, min(10.0, timeout / 2)):
                raise SilentRankError(
                    f"expected all {world_size} workers to answer within {timeout} s, got nothing from "
                    f"{', '.join(silent)}; it was stopped, or its machine or network is gone"
                ) from error
            raise
    work.measure()
