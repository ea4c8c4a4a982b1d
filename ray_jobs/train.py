"""Train one encoder on Ray Train workers.

ray job submit -- python -m ray_jobs.train --objective tempaggmrl --num-workers 2 --output /shared/runs/one

A run is its settings and its folder: the same command again goes on where the last one ended, however it ended.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import tyro

from ray_jobs.connect import connect, temporary_folder
from ray_jobs.metrics import RunMetrics, measured, tell, tell_depth
from ray_jobs.progress import Progress, followed
from ray_jobs.run import (
    STOP,
    PreparedData,
    check_batch,
    check_capacity,
    check_cpus,
    check_least,
    fit,
    prepare_in_subprocess,
)
from tempembed.commands.train import Run
from tempembed.evaluation.trained import REPORT
from tempembed.reports.table import score_table
from tempembed.run.folder import SPOOL, RunFolder
from tempembed.run.identity import differences
from tempembed.settings.places import output_place
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.system.cache import cache_dir
from tempembed.system.console import first_signal, run
from tempembed.system.disk import blamed_on_disk
from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.redact import refuse_secret
from tempembed.system.untrusted import check_place
from tempembed.tracking.courier import Courier
from tempembed.tracking.spool import Spool

PROGRESS = "progress.log"
STOPPING = "stopping with a checkpoint; the same command goes on from here, again to stop at once"


@dataclass(frozen=True, kw_only=True)
class RayTrain(Run):
    """Train an encoder on N Ray Train workers. The same run as `tempembed train`."""

    num_workers: int = 2
    """Workers; each takes batch-size / num-workers rows, and all rows of the batch are negatives."""
    min_workers: int | None = None
    """Go on with as few when nodes are lost, and with all when they are back; the batch, and so the number of negatives,
    stays: fewer workers compute it through gradient caching. Default: num-workers, a run waits for all."""
    resize_seconds: int = 60
    """With --min-workers: how often it is looked whether lost nodes are back."""
    cpus_per_worker: float = 1
    """CPUs of a worker."""
    use_gpu: bool = False
    """One GPU for each worker."""
    max_failures: int = 2
    """Restarts after a worker died, from the newest checkpoint."""
    collective_timeout: int = 300
    """Seconds until a worker that does not answer the others is an error that names it."""
    fresh: bool = False
    """Throw away what an earlier run left in --output."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI; without either, metrics go to metrics.jsonl only."""
    experiment: str = "tempembed"
    """MLflow experiment."""

    def __post_init__(self) -> None:
        check_name(self.experiment, "--experiment")
        check_cpus(self.cpus_per_worker)
        check_least(self, num_workers=1, resize_seconds=1, max_failures=0, collective_timeout=1)


def main() -> None:
    """Entry point."""
    command = tyro.cli(
        RayTrain, prog="python -m ray_jobs.train", description=__doc__, config=(tyro.conf.OmitArgPrefixes,)
    )
    output = output_place("--output", command.output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    least = command.num_workers if command.min_workers is None else command.min_workers
    for num in range(least, command.num_workers + 1):
        check_batch(command.settings, num)
    if least > command.num_workers:
        raise UserError(
            f"--min-workers {least}: expected at most --num-workers {command.num_workers}; lower it"
        )
    refuse_secret("--mlflow-uri", command.mlflow_uri)
    if uri := command.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI"):
        from tempembed.tracking.mlflow import check_server

        check_server(uri, command.experiment)
    folder = RunFolder(output)
    folder.lock()
    there = None if command.fresh else folder.settings()
    identity = there["id"] if there and "id" in there else uuid4().hex
    if there:  # refuse before the work of preparing
        folder.refuse(_unlike(command, None, there))
    (output / STOP).unlink(missing_ok=True)
    connect()
    with blamed_on_disk(output, cache_dir(), temporary_folder()):
        _train(command, folder, identity, uri)


def _unlike(command: RayTrain, prepared: PreparedData | None, there: dict[str, Any]) -> str:
    """What makes the run that is there another one; without data, what can be told before it is read."""
    stored = restored_settings(there.get("settings") or {})
    if prepared is None:
        return differences(settings_identity(stored), settings_identity(command.settings))

    def identity(settings: TrainSettings, facts: Facts) -> dict[str, Any]:
        only_worker_knows = command.use_gpu and settings.model.precision == "auto"
        bfloat16 = None if only_worker_knows else settings.model.precision == "bfloat16"
        return run_identity(settings, facts, bfloat16=bfloat16)

    before = identity(stored, prepared.facts.restored(there, stored))
    return differences(before, identity(command.settings, prepared.facts))


def _train(command: RayTrain, folder: RunFolder, identity: str, uri: str | None) -> None:
    """The run, from its data to its report."""
    output, least = folder.folder, command.num_workers if command.min_workers is None else command.min_workers
    check_capacity(least, command.cpus_per_worker, command.use_gpu)
    prepared = prepare_in_subprocess(command.settings)
    tested = (folder.settings() or {}).get("test", prepared.test)
    content = {
        "id": identity,
        "settings": command.settings.to_dict(),
        **prepared.facts.noted(),
        "test": prepared.test,
    }
    if folder.open(content, unlike=partial(_unlike, command, prepared), fresh=command.fresh):
        print(f"going on with {output}", flush=True)
        if tested != prepared.test:  # measured on another test: the model is there, and is measured again
            (output / REPORT).unlink(missing_ok=True)
    spool = Spool(output / SPOOL)
    tracked, status = spool.run(), "FAILED"
    tracked.go_on()

    def stop_in_order() -> None:
        (output / STOP).touch()  # the workers stop at their next report, with a checkpoint
        if status != "FINISHED":
            tracked.finish("KILLED")  # now: a Ray of somebody else kills three seconds after `ray job stop`

    with ExitStack() as at_the_end:
        asked = at_the_end.enter_context(first_signal(STOPPING, stop_in_order))
        if uri:
            from tempembed.tracking.mlflow import Delivery, start_run

            said = partial(print, flush=True)
            root = start_run(uri, command.experiment, output.name, command.settings.to_dict(), identity, said)
            courier = Courier(spool, Delivery(root, output), uri, said, run_id=root.run_id)
            at_the_end.callback(courier.close)
            tell_depth(courier, run=output.name)
        at_the_end.callback(lambda: tracked.finish(status))
        at_the_end.enter_context(followed(output / PROGRESS))
        try:
            if not (output / REPORT).exists() and not asked():
                fit(
                    command.settings,
                    prepared=prepared.folder,
                    output=output,
                    spool=spool.path,
                    num_workers=command.num_workers,
                    min_workers=least,
                    resize_seconds=command.resize_seconds,
                    cpus_per_worker=command.cpus_per_worker,
                    use_gpu=command.use_gpu,
                    resume=True,
                    max_failures=command.max_failures,
                    collective_timeout=command.collective_timeout,
                    callbacks=[Progress(output / PROGRESS), RunMetrics(run=output.name)],
                )
        except UserError:
            status = "KILLED" if asked() else "FAILED"
            raise
        if number := asked():
            status = "KILLED"
            raise SystemExit(128 + number)
        if (output / REPORT).exists():
            from tempembed.tracking.points import evaluation_points

            report = json.loads((output / REPORT).read_text())
            print(score_table(report))
            tell(measured(report), run=output.name)
            tracked.points(evaluation_points(report))
            tracked.file(output / REPORT)
        status = "FINISHED"
    print(f"model: {output}", flush=True)


if __name__ == "__main__":
    run(main)
