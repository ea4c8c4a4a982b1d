"""Lines of progress, from a run's controller, whose output nobody sees, to its driver, whose output the user follows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train.v2.api.callback import UserCallback

from ray_jobs.failures import describe_first
from ray_jobs.worker import NOTES
from tempembed.system.console import progress_line

EVERY = 0.5
"""Seconds between two looks at the file."""


class Progress(UserCallback):
    """In the controller: writes a line for each report of rank 0, and what went wrong, to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """A report of all ranks."""
        self._write(*metrics[0].get(NOTES, ()), progress_line(metrics[0]))

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Workers failed; before Ray has ended the others, which takes its time if one of them is stopped."""
        self._write(describe_first(worker_exceptions))

    def _write(self, *lines: str) -> None:
        try:
            with self._path.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError:
            pass  # a full disk ends a run by its checkpoints, with an error that says so


@contextmanager
def followed(path: Path) -> Iterator[None]:
    """Print what is written to the file meanwhile."""
    path.unlink(missing_ok=True)
    done = threading.Event()

    def follow() -> None:
        offset, last = 0, False
        while not last:
            last = done.wait(EVERY)
            if path.exists():
                with path.open() as file:
                    file.seek(offset)
                    print(file.read(), end="", flush=True)
                    offset = file.tell()

    follower = threading.Thread(target=follow, daemon=True, name="progress")
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join(5)
