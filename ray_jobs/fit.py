"""Trains one run, on Ray Train workers or in this process: what train.py and every trial of a sweep do."""

import dataclasses
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ray_jobs.capacity import Workers, await_room, has_capacity
from ray_jobs.connect import temporary_folder
from ray_jobs.failures import as_our_error, describe, found_no_room, names_its_cause
from ray_jobs.process_group import NodeTorchConfig
from ray_jobs.worker import STOP, Assignment, Place, worker
from tempembed.system.disk import full_disk, is_full
from tempembed.system.errors import InfrastructureError, UserError
from tempembed.system.names import check_name

REPORT_POLL_SECONDS = "0.2"
"""How often Train polls its workers' reports; its default of 2 s would make every report cost 2 s (ray#56718)."""
CONTROLLER_FAILURES = 2  # Ray's default is to retry for ever
START_TRIES = 10
"""How often a run may lose the free CPUs to another job; each time takes Ray Train three minutes."""


def fit(assignment: Assignment, workers: Workers, callbacks: Sequence[Any] = ()) -> None:
    """Train on Ray Train workers to the end, or until the run is asked to stop; wait for room first.

    Our own checkpoints in the output are what a restarted worker continues from; Ray is given none.

    Args:
        assignment: what is trained and measured.
        workers: how many of what size.
        callbacks: for Ray Train's controller.

    Raises:
        InfrastructureError: workers died, fell silent, found the disk full, or could not be started; their checkpoints are there.
        UserError: what else went wrong on a worker, as one line.
    """
    output = assignment.output
    check_name(output.name, "run")
    storage = output.parent / ".ray"
    written = (output, storage, temporary_folder())
    for tries_left in reversed(range(START_TRIES)):
        if not await_room(workers, (output / STOP).exists):
            return
        shutil.rmtree(storage / output.name, ignore_errors=True)  # what Ray keeps of an attempt is not needed
        try:
            _wait_for(_trainer(assignment, workers, callbacks, storage))
            return
        except ray.train.TrainingFailedError as error:
            if found_no_room(error) and tries_left and has_capacity(workers):
                continue  # there is room for both, one after the other
            unexplained = InfrastructureError(describe(error))
            if not names_its_cause(error) and (full := full_disk(unexplained, written)):
                raise full from error
            raise as_our_error(error) from error
        except ray.exceptions.RayActorError as error:
            lost = InfrastructureError(
                f"Ray Train's controller died ({type(error).__name__}); the dashboard has its log"
            )
            raise full_disk(lost, written) or lost from error
        except Exception as error:  # in what Train reads and writes of its own
            if full := full_disk(error, written):
                raise full from error
            raise


def _trainer(
    assignment: Assignment, workers: Workers, callbacks: Sequence[Any], storage: Path
) -> TorchTrainer:
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", REPORT_POLL_SECONDS)
    # a process that watches for what we do not use
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    assignment = dataclasses.replace(assignment, resume=assignment.resume or workers.max_failures != 0)
    is_elastic = workers.least != workers.num_workers
    return TorchTrainer(
        worker,
        train_loop_config={"assignment": assignment, "workers": workers},
        torch_config=NodeTorchConfig(timeout_s=workers.collective_timeout),
        scaling_config=ScalingConfig(
            num_workers=(workers.least, workers.num_workers) if is_elastic else workers.num_workers,  # type: ignore[arg-type]
            elastic_resize_monitor_interval_s=workers.resize_seconds,  # type: ignore[call-arg]
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.cpus_per_worker},
        ),
        run_config=RunConfig(
            name=assignment.output.name,
            storage_path=str(storage),
            failure_config=FailureConfig(  # mypy reads the V1 class
                max_failures=workers.max_failures,
                controller_failure_limit=CONTROLLER_FAILURES,  # type: ignore[call-arg]
            ),
            callbacks=list(callbacks),
        ),
    )


def _wait_for(trainer: TorchTrainer) -> None:
    """Run it, awake for signals: Train would take SIGINT from its caller, and MLflow has SIGINT restart what it interrupts."""
    if threading.current_thread() is not threading.main_thread():
        trainer.fit()
        return
    with ThreadPoolExecutor(1) as beside:
        training = beside.submit(trainer.fit)
        while not wait([training], timeout=0.2).done:
            pass
        training.result()


def fit_here(
    assignment: Assignment, *, use_gpu: bool = False, tell: Callable[[dict[str, Any]], None]
) -> None:
    """Train in this process, with no other: nothing has to start for it.

    Args:
        assignment: what is trained and measured.
        use_gpu: whether to train on a GPU.
        tell: takes the reports.

    Raises:
        InfrastructureError: the disk is full.
        UserError: what went wrong; its cause is the error itself.
    """
    from tempembed.system.memory import forget_peak, give_back

    check_name(assignment.output.name, "run")
    give_back()  # what an earlier run in this process has left, and its peak
    forget_peak()
    try:
        work = assignment.begin(Workers(num_workers=1, use_gpu=use_gpu), Place())
        work.train(tell)
        work.measure()
    except Exception as error:
        if full := full_disk(error, (assignment.output, temporary_folder())):
            raise full from error
        kind = InfrastructureError if isinstance(error, InfrastructureError) or is_full(error) else UserError
        raise kind(f"{type(error).__name__}: {str(error).strip()}") from error
