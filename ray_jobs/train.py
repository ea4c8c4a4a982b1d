"""Train one encoder on Ray Train workers.

ray job submit --working-dir . -- python -m ray_jobs.train --objective tempaggmrl --num-workers 2 --output runs/one
"""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro
from ray.train.v2.api.callback import UserCallback

from ray_jobs.run import check_batch, check_capacity, fit, prepare_apart
from tempembed.cli import Train, check_output, progress_line, run, score_table
from tempembed.tracking.tracker import JsonlTracker, Tracker
from tempembed.untrusted import check_name


@dataclass(frozen=True, kw_only=True)
class RayTrain(Train):
    """Train an encoder on N Ray Train workers. The same run as `tempembed train`."""

    num_workers: int = 2
    """Workers; each takes batch-size / num-workers rows, and all rows of the batch are negatives."""
    cpus_per_worker: float = 1
    """CPUs of a worker."""
    use_gpu: bool = False
    """One GPU for each worker."""
    max_failures: int = 2
    """Restarts after a worker died, from the newest checkpoint."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI; without either, metrics go to metrics.jsonl only."""
    experiment: str = "tempembed"
    """MLflow experiment."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.experiment, "--experiment")


class Progress(UserCallback):
    """In the controller: passes rank 0's metrics on."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """A report of all ranks."""
        print(progress_line(metrics[0]), flush=True)
        for tracker in self._trackers:
            tracker.log(metrics[0])


def main() -> None:
    """Entry point."""
    command = tyro.cli(RayTrain, description=__doc__)
    output = Path(command.output).absolute()
    check_batch(command.settings, command.num_workers)
    check_output(output, resume=command.resume)
    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    check_capacity(command.num_workers, command.cpus_per_worker, command.use_gpu)
    prepared = prepare_apart(command.settings)
    output.mkdir(parents=True, exist_ok=True)
    trackers: list[Tracker] = [JsonlTracker(output / "metrics.jsonl")]
    mlflow_run = None
    if uri := command.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI"):
        from tempembed.tracking.mlflow import start_run

        mlflow_run = start_run(uri, command.experiment, output.name, command.settings.to_dict())
        trackers.append(mlflow_run)
    status = "FAILED"
    try:
        fit(
            command.settings,
            prepared=prepared.folder,
            output=output,
            num_workers=command.num_workers,
            cpus_per_worker=command.cpus_per_worker,
            use_gpu=command.use_gpu,
            resume=command.resume,
            max_failures=command.max_failures,
            callbacks=[Progress(trackers)],
        )
        evaluation = output / "evaluation.json"
        if evaluation.exists():
            report = json.loads(evaluation.read_text())
            print(score_table(report))
            if mlflow_run:
                from tempembed.tracking.points import evaluation_points

                mlflow_run.points(evaluation_points(report))
                mlflow_run.file(evaluation)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if mlflow_run:
            mlflow_run.finish(status)
    print(f"model: {output}", flush=True)


if __name__ == "__main__":
    run(main)
