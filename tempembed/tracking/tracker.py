"""What a tracker is, and which ones there are by name.

A run writes what is to be known of it into a file (`spool`), and a courier delivers the file to each tracker. So a tracker may be
slow or away: training never waits for it, and it is told each thing once, in order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tempembed.system.plugins import find

Point = tuple[str, float, int]
"""Name of a curve, value, step."""


@dataclass(frozen=True, kw_only=True)
class TrackedDataset:
    """Data that a run reads."""

    context: Literal["training", "test"]
    name: str
    source: str
    """Where it is: a path, or a hub name."""
    digest: str
    """Hash of its content."""
    num_rows: int | None = None


class UnreachableError(Exception):
    """The tracker does not answer now; later it may."""


class RefusedError(Exception):
    """The tracker answers, and will never take this record."""


class Tracker:
    """A service, a database or a folder that is told of a run and of the runs below it.

    `run` is empty for the run itself, and the name of a run below it otherwise: a trial of a sweep. Each method does nothing
    unless a tracker has its own. What was told just before the process died is told again, so telling it twice must do no
    harm. A method that raises UnreachableError is called again later with the same; what it refuses with another error is kept
    in NAME.refused beside the spool, and the next is told.
    """

    address: str = ""
    """Where it is, for messages. An address that is new is told everything from the beginning."""
    run_id: str = ""
    """What it calls the run itself. One that is new, after the old one was deleted, is told everything from the beginning."""

    def start(self, run: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """A run begins, or is resumed."""

    def log(self, run: str, metrics: Mapping[str, Any], milliseconds: int | None = None) -> None:
        """Metrics of a step, which is `metrics["step"]`; `milliseconds` since 1970 is when they were measured."""

    def points(self, run: str, points: Sequence[Point], milliseconds: int | None = None) -> None:
        """Points of curves over something else than steps, such as the width of the embeddings."""

    def tag(self, run: str, key: str, value: str) -> None:
        """A tag of a run, in place of what it was before."""

    def file(self, run: str, path: Path) -> None:
        """A file that belongs to a run."""

    def dataset(self, run: str, dataset: TrackedDataset) -> None:
        """Data that a run reads."""

    def model(
        self, run: str, facts: Mapping[str, str], points: Sequence[Point], milliseconds: int | None = None
    ) -> None:
        """The model that a run has made: what it is, and its scores, which are points of the run too."""

    def finish(self, run: str, status: str) -> None:
        """A run ends: FINISHED, FAILED or KILLED. It may start again."""

    def close(self) -> None:
        """This process tells no more: let go of files and connections."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run, for the tracker that is opened for it."""

    name: str
    folder: Path
    settings: Mapping[str, Any]
    """Its settings, as plain values."""
    identity: str
    """The same whenever the run is resumed."""
    mlflow_uri: str | None = None
    experiment: str = "tempembed"
    say: Callable[[str], None] = lambda line: None
    """Takes a line for the person who started the run."""
    started: Callable[[str, str], None] = lambda name, run_id: None
    """Takes the name of each run below it, and its id in MLflow."""


OpenTracker = Callable[[TrackedRun], Tracker]
TRACKERS: dict[str, str | OpenTracker] = {
    "mlflow": "tempembed.tracking.mlflow:open_mlflow",
    "tensorboard": "tempembed.tracking.tensorboard:TensorBoardTracker",
}
"""By the name in --trackers: what opens a tracker, or MODULE:NAME of it, which is imported when it is asked for."""


def register_tracker(name: str, opened_by: str | OpenTracker) -> None:
    """Let `--trackers` know a tracker by a name."""
    TRACKERS[name] = opened_by


def find_tracker(name: str) -> OpenTracker:
    """What opens the tracker of a name; MODULE:NAME is one of any package.

    Raises:
        UserError: there is none of that name.
    """
    return find("--trackers", name, TRACKERS)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The entries that are metrics: numbers under a key with a phase, `phase/metric`."""
    return {k: float(v) for k, v in metrics.items() if "/" in k and isinstance(v, int | float)}
