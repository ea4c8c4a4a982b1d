"""Train one encoder on Ray Train workers.

ray job submit --working-dir . -- python -m ray_jobs.train --objective tempaggmrl --num-workers 2 --output runs/one

A run is its settings and its folder: the same command again goes on where the last one ended, however it ended.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import tyro

from ray_jobs.connect import connect
from ray_jobs.metrics import RunMetrics, measured, tell, tell_depth
from ray_jobs.progress import Progress, followed
from ray_jobs.run import STOP, check_batch, check_capacity, check_cpus, check_least, fit, prepare_apart
from tempembed.commands.train import Run
from tempembed.console import first_signal, run
from tempembed.errors import UserError
from tempembed.evaluation.trained import REPORT
from tempembed.names import check_name
from tempembed.redact import refuse_secret
from tempembed.report.table import score_table
from tempembed.run_folder import SPOOL, RunFolder
from tempembed.settings import TrainSettings
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
        super().__post_init__()
        check_name(self.experiment, "--experiment")
        check_cpus(self.cpus_per_worker)
        check_least(self, num_workers=1, resize_seconds=1, max_failures=0, collective_timeout=1)


def main() -> None:
    """Entry point."""
    command = tyro.cli(RayTrain, prog="python -m ray_jobs.train", description=__doc__)
    output = Path(command.output).absolute()
    least = command.num_workers if command.min_workers is None else command.min_workers
    for num in range(least, command.num_workers + 1):
        check_batch(command.settings, num)
    if least > command.num_workers:
        raise UserError(
            f"--min-workers {least}: expected at most --num-workers {command.num_workers}; lower it"
        )
    refuse_secret("--mlflow-uri", command.mlflow_uri)
    folder = RunFolder(output)
    folder.lock()
    there = None if command.fresh else folder.settings()
    identity = there["id"] if there and "id" in there else uuid4().hex
    of_run = {"id": identity, "settings": command.settings.to_dict()}
    if there:  # refuse before the work of preparing
        folder.open({**there, **of_run}, defaults=TrainSettings().to_dict())
    (output / STOP).unlink(missing_ok=True)
    connect()
    check_capacity(least, command.cpus_per_worker, command.use_gpu)
    prepared = prepare_apart(command.settings)
    data = {"fingerprint": prepared.meta["fingerprint"]}
    goes_on = folder.open(of_run | data, defaults=TrainSettings().to_dict() | data, fresh=command.fresh)
    if goes_on:
        print(f"going on with {output}", flush=True)
    spool = Spool(output / SPOOL)
    tracked, status = spool.run(), "FAILED"
    tracked.go_on()

    def stop_in_order() -> None:
        (output / STOP).touch()  # the workers stop at their next report, with a checkpoint
        if status != "FINISHED":
            tracked.finish("KILLED")  # now: a Ray of somebody else kills three seconds after `ray job stop`

    with ExitStack() as at_the_end:
        asked = at_the_end.enter_context(first_signal(STOPPING, stop_in_order))
        if uri := command.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI"):
            from tempembed.tracking.courier import Courier
            from tempembed.tracking.mlflow import Delivery, start_run

            root = start_run(uri, command.experiment, output.name, command.settings.to_dict(), identity)
            said = partial(print, flush=True)
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
