"""Pre-train an encoder on raw text on Ray Train workers: stage 1; ray_jobs.train is stage 2.

ray job submit -- python -m ray_jobs.pretrain --text installed-text --num-workers 2 --output /shared/runs/base

A run is identified by its settings and its folder: run the same command again to resume, however the last one ended.
"""

import os
import sys
from dataclasses import dataclass, field
from uuid import uuid4

import tyro

from ray_jobs.capacity import Workers
from tempembed.commands.pretrain import PretrainRun
from tempembed.run.folder import RunFolder
from tempembed.settings.config import with_file
from tempembed.settings.places import output_place
from tempembed.system.cache import cache_dir
from tempembed.system.console import run
from tempembed.system.disk import blamed_on_disk
from tempembed.system.untrusted import check_place
from tempembed.tracking.settings import MLFLOW_URI, TrackingSettings


@dataclass(frozen=True, kw_only=True)
class RayPretrain(PretrainRun):
    """Pre-train an encoder on N Ray Train workers. The same run as `tempembed pretrain`."""

    workers: Workers = field(default_factory=Workers)
    fresh: bool = False
    """Throw away what an earlier run left in --output."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


def main() -> None:
    """Entry point. What drives is imported here, because each subprocess of a driver imports this file again."""
    command = tyro.cli(
        RayPretrain, prog="python -m ray_jobs.pretrain", description=__doc__, config=(tyro.conf.OmitArgPrefixes,),
        **with_file(RayPretrain, sys.argv[1:]),
    )  # fmt: skip
    from ray_jobs.connect import connect, temporary_folder
    from ray_jobs.pretrain_driver import check_batch, drive
    from ray_jobs.worker import STOP

    output = output_place("--output", command.output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    for num in range(command.workers.least, command.workers.num_workers + 1):
        check_batch(command.settings, num)
    tracking = command.tracking.resolved(os.environ.get(MLFLOW_URI))
    folder = RunFolder(output)
    folder.lock()
    there = None if command.fresh else folder.settings()
    identity = there["id"] if there and "id" in there else uuid4().hex
    (output / STOP).unlink(missing_ok=True)
    connect()
    with blamed_on_disk(output, cache_dir(), temporary_folder()):
        drive(command.settings, command.workers, tracking, folder, identity, fresh=command.fresh)


if __name__ == "__main__":
    run(main)
