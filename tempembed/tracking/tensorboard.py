"""TensorBoard: an event file per run in `tensorboard/` of the run's folder. `tensorboard --logdir FOLDER/tensorboard` shows them.

Written by tensorboardX, which Ray brings; TensorBoard itself is not needed here.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar, text

from tempembed.run.folder import TENSORBOARD
from tempembed.system.names import check_name
from tempembed.tracking.tracker import Point, TrackedRun, Tracker, UnreachableError, numbers


class TensorBoardTracker(Tracker):
    """Curves as scalars, settings and tags as text; files stay where they are."""

    def __init__(self, run: TrackedRun) -> None:
        self._folder = run.folder / TENSORBOARD
        self._writers: dict[str, EventsWriter] = {}
        self.address = str(self._folder)

    def start(self, run: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Settings and tags as a table."""
        if rows := {**settings, **tags}:
            lines = [
                "| setting | value |",
                "|---|---|",
                *(f"| {key} | {value} |" for key, value in rows.items()),
            ]
            self._write(run, [(0, text("settings", "\n".join(lines)))])

    def log(self, run: str, metrics: Mapping[str, Any], milliseconds: int | None = None) -> None:
        """A scalar for each number."""
        self.points(
            run, [(key, value, metrics["step"]) for key, value in numbers(metrics).items()], milliseconds
        )

    def points(self, run: str, points: Sequence[Point], milliseconds: int | None = None) -> None:
        """A scalar for each point."""
        self._write(run, [(step, scalar(key, value)) for key, value, step in points], milliseconds)

    def tag(self, run: str, key: str, value: str) -> None:
        """A text."""
        self._write(run, [(0, text(key, value))])

    def close(self) -> None:
        """Close the event files."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _write(
        self, run: str, entries: Iterable[tuple[int, Summary]], milliseconds: int | None = None
    ) -> None:
        """Append to the event file of a run, and to the disk.

        Raises:
            UnreachableError: the disk is full, or the like; half an event ends a file, so the next try has a new one.
        """
        seconds = time.time() if milliseconds is None else milliseconds / 1000
        try:
            writer = self._writers.get(run) or self._writers.setdefault(run, self._open(run))
            for step, summary in entries:
                writer.write_event(Event(wall_time=seconds, step=step, summary=summary))
            writer.flush()
        except OSError as error:
            if broken := self._writers.pop(run, None):
                with suppress(OSError):
                    broken.close()
            raise UnreachableError(str(error)) from error

    def _open(self, run: str) -> EventsWriter:
        folder: Path = self._folder / check_name(run, "run") if run else self._folder
        folder.mkdir(parents=True, exist_ok=True)
        return EventsWriter(str(folder / "events"), f".{os.getpid()}.{time.time_ns()}")
