"""Train one encoder on Ray Train workers.

ray job submit -- python -m ray_jobs.train --objective tempaggmrl --num-workers 2 --output /shared/runs/one

A run is identified by its settings and its folder: run the same command again to resume, however the last one ended.
"""

import os
from dataclasses import dataclass, field
from uuid import uuid4

import tyro

from ray_jobs.capacity import Workers, check_batch
from ray_jobs.connect import connect, temporary_folder
from ray_jobs.run_driver import differences_to, drive
from ray_jobs.worker import STOP
from tempembed.commands.train import Run
from tempembed.run.folder import RunFolder
from tempembed.settings.places import cache_dir, output_place
from tempembed.system.console import run
from tempembed.system.disk import blamed_on_disk
from tempembed.system.names import check_name
from tempembed.system.redact import refuse_secret
from tempembed.system.untrusted import check_place


@dataclass(frozen=True, kw_only=True)
class RayTrain(Run):
    """Train an encoder on N Ray Train workers. The same run as `tempembed train`."""

    workers: Workers = field(default_factory=Workers)
    """How many workers of which size."""
    fresh: bool = False
    """Throw away what an earlier run left in --output."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI; without either, metrics go to metrics.jsonl only."""
    experiment: str = "tempembed"
    """MLflow experiment."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.experiment, "--experiment")


def main() -> None:
    """Entry point."""
    command = tyro.cli(
        RayTrain, prog="python -m ray_jobs.train", description=__doc__, config=(tyro.conf.OmitArgPrefixes,)
    )
    output = output_place("--output", command.output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    for num in range(command.workers.least, command.workers.num_workers + 1):
        check_batch(command.settings, num)
    refuse_secret("--mlflow-uri", command.mlflow_uri)
    if uri := command.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI"):
        from tempembed.tracking.mlflow import check_server

        check_server(uri, command.experiment)
    folder = RunFolder(output)
    folder.lock()
    there = None if command.fresh else folder.settings()
    identity = there["id"] if there and "id" in there else uuid4().hex
    if there:  # refuse before the work of preparing
        folder.refuse(differences_to(there, command.settings))
    (output / STOP).unlink(missing_ok=True)
    connect()
    with blamed_on_disk(output, cache_dir(), temporary_folder()):
        drive(
            command.settings,
            command.workers,
            folder,
            identity,
            fresh=command.fresh,
            uri=uri,
            experiment=command.experiment,
        )


if __name__ == "__main__":
    run(main)
