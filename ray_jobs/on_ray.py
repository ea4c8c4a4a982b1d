"""What the entry points of runs share: flags of a run on Ray, and the way from a command to what drives it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import tyro

from ray_jobs.capacity import Workers
from tempembed.run.folder import RunFolder
from tempembed.settings.config import with_file
from tempembed.settings.places import output_place
from tempembed.system.cache import cache_dir
from tempembed.system.disk import blamed_on_disk
from tempembed.system.untrusted import check_place
from tempembed.tracking.settings import MLFLOW_URI, TrackingSettings

if TYPE_CHECKING:
    from ray_jobs.drive import Asked

Command = TypeVar("Command")


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """Flags of every run on Ray."""

    workers: Workers = field(default_factory=Workers)
    fresh: bool = False
    """Throw away what an earlier run left in --output."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


def command_line(kind: type[Command], name: str, description: str | None) -> Command:
    """The command of `python -m name`, with the settings of its --config."""
    return tyro.cli(
        kind, prog=f"python -m {name}", description=description, config=(tyro.conf.OmitArgPrefixes,), **with_file(kind, sys.argv[1:])
    )  # fmt: skip


def start(
    command: OnRay,
    output: str,
    settings: Any,
    drive: "Callable[[Asked[Any]], None]",
    *,
    check_batch: Callable[[Any, int], None],
    differences_to: Callable[[dict[str, Any], Any], str],
) -> None:
    """Drive a run. What is wrong with it is said before anything starts.

    Args:
        command: how it runs.
        output: its folder.
        settings: what is trained.
        drive: to its end.
        check_batch: raises unless the batch divides over so many workers.
        differences_to: what makes the run that is there another one, as far as it can be told before the data is read.
    """
    from ray_jobs.connect import connect, temporary_folder
    from ray_jobs.drive import Asked
    from ray_jobs.worker import STOP

    place = output_place("--output", output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    for num in range(command.workers.least, command.workers.num_workers + 1):
        check_batch(settings, num)
    tracking = command.tracking.resolved(os.environ.get(MLFLOW_URI))
    folder = RunFolder(place)
    folder.lock()
    there = None if command.fresh else folder.settings()
    identity = there["id"] if there and "id" in there else uuid4().hex
    if there:  # refuse before the work of preparing
        folder.refuse(differences_to(there, settings))
    (place / STOP).unlink(missing_ok=True)
    connect()
    with blamed_on_disk(place, cache_dir(), temporary_folder()):
        drive(
            Asked(settings=settings, workers=command.workers, tracking=tracking, folder=folder, identity=identity, fresh=command.fresh)
        )  # fmt: skip
