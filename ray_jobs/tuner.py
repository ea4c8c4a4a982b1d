"""Runs the trials of a queue with Ray Tune."""

import os
import sys
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from ray_jobs.board import Board
from ray_jobs.open_sweep import OpenSweep
from ray_jobs.queue import Queue
from ray_jobs.trial import trial


def run_trials(opened: OpenSweep, queue: Queue, num_trials: int, board: Board) -> None:
    """Train what the queue hands out.

    Args:
        opened: the sweep.
        queue: its trials.
        num_trials: at most so many.
        board: follows them.
    """
    sweep, rungs = opened.sweep, opened.rung_steps
    workers = opened.workers if sweep.num_workers else None
    trainable = tune.with_parameters(
        trial,
        prepared=str(opened.prepared.folder),
        sweep=str(opened.ledger.folder),
        budgets=tuple(sweep.budgets),
        probe_at=tuple(rungs),
        workers=workers,
        use_gpu=sweep.use_gpu,
    )
    # A process that only waits for its workers must hold no CPU that they need: it takes a sliver of the resource that
    # every head node has.
    size = {"node:__internal_head__": 0.001} if workers else opened.workers.resources
    tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([size])),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=num_trials,
            max_concurrent_trials=opened.concurrent,
            scheduler=_early_stopping(opened) if rungs else None,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,  # what TensorBoard shows
            reuse_actors=not rungs,  # a trial that was stopped leaves an actor that cannot be used again
        ),
        run_config=tune.RunConfig(
            name=".tune", storage_path=str(opened.ledger.folder), callbacks=[board], verbose=0
        ),
    ).fit()


def _early_stopping(opened: OpenSweep) -> ASHAScheduler:
    """Stops the weak trials at each rung."""
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # only the reports at the rungs carry the score
    return ASHAScheduler(
        time_attr="step",  # ours: Tune's own count starts again at 1 when a trial resumes
        metric=f"probe/score_at_{opened.sweep.stop_bytes}_bytes",
        mode="max",
        grace_period=opened.rung_steps[0],
        max_t=sys.maxsize,
        reduction_factor=opened.sweep.reduction_factor,
    )


def _name_of(trial: Any) -> str:
    return trial.config["name"]
