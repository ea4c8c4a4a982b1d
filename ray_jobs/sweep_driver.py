"""Drives a sweep, from its settings to its report."""

import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain

from ray_jobs.board import Board
from ray_jobs.capacity import await_room, check_batch
from ray_jobs.connect import connect, temporary_folder
from ray_jobs.metrics import export_backlog
from ray_jobs.open_sweep import OpenSweep, open_sweep
from ray_jobs.prepared import PreparedData
from ray_jobs.queue import Queue, unfinished_trials
from ray_jobs.resume import restored_sweep, shared_identity
from ray_jobs.sweep import Sweep
from ray_jobs.sweep_report import (
    rank_finished,
    read_trials,
    register_winners,
    remove_checkpoints,
    write_report,
)
from ray_jobs.tuner import run_trials
from tempembed.run.folder import SPOOL
from tempembed.run.identity import differences
from tempembed.settings.places import output_place
from tempembed.settings.train import TrainSettings
from tempembed.system.cache import cache_dir
from tempembed.system.console import first_signal
from tempembed.system.disk import blamed_on_disk
from tempembed.system.redact import redact
from tempembed.system.untrusted import check_place
from tempembed.tracking.causes import UnansweredError
from tempembed.tracking.courier import Courier
from tempembed.tracking.datasets import tracked_datasets
from tempembed.tracking.delivery import delivery
from tempembed.tracking.settings import MLFLOW_URI
from tempembed.tracking.spool import Spool
from tempembed.tracking.tracked import pretraining_tags
from tempembed.tracking.tracker import TrackedRun
from tempembed.tuning.ledger import Ledger

LEAVE_SECONDS = 100.0
"""How long trials may take to stop with a checkpoint; jobs of our stack have RAY_JOB_STOP_WAIT_TIME_S = 120 for it."""
STOPPING = "stopping: trials stop with a checkpoint; run the same command again to resume, Ctrl-C again to stop at once"
AGAIN = "run the same command again to decide"
DRAIN_SECONDS = 5.0
"""How long the end of a sweep waits for MLflow before it leaves the registry undecided."""


def sweep_trials(sweep: Sweep, settings: dict[str, TrainSettings] | None = None) -> PreparedData:
    """Run a sweep to its end and report it.

    Args:
        sweep: its settings.
        settings: trials by name, in place of those that the sweep names.

    Returns:
        The data that they were trained and measured on.

    Raises:
        UserError: bad settings, a folder of another sweep, or no trial that finished.
        SystemExit: the sweep was asked to stop.
    """
    output = output_place("--output", sweep.output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    listed = settings or (sweep.grid() if sweep.search == "grid" else {})
    for each in listed.values() or [sweep.base]:
        check_batch(each, sweep.num_processes)
    default = os.environ.get(MLFLOW_URI) or f"sqlite:///{output / 'mlflow.db'}"
    sweep = dataclasses.replace(sweep, tracking=sweep.tracking.resolved(default))
    ledger = Ledger(output)
    ledger.lock()
    there = None if sweep.fresh else ledger.settings()
    if there:  # refuse before the work of preparing
        stored = restored_sweep(there.get("settings", {}), sweep)
        ledger.refuse(differences(shared_identity(stored), shared_identity(sweep)))
    connect()
    with blamed_on_disk(output, cache_dir(), temporary_folder()):
        opened = open_sweep(sweep, ledger, listed, is_listed=bool(settings))
        _drive(opened)
    return opened.prepared


def _drive(opened: OpenSweep) -> None:
    """Train the trials of an open sweep, and report them; however it ends, trackers are told."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # the board says what matters
    ledger, num_trials, run = opened.ledger, opened.num_trials, _tracked(opened)
    spool = Spool(ledger.folder / SPOOL)
    parent = spool.run()
    parent.start(run.settings)
    parent.tag("num_trials", str(num_trials))  # it may grow, and MLflow's parameters are for ever
    for key, value in pretraining_tags(opened.sweep.base.model.encoder).items():
        parent.tag(key, value)
    prepared = opened.prepared
    datasets = tracked_datasets(opened.sweep.base.data, prepared.meta)
    parent.datasets(datasets)
    board = Board(
        parent, ledger, num_trials=num_trials, at_once=opened.concurrent, width=prepared.width,
        goals=opened.goals, study=opened.study, datasets=datasets,
    )  # fmt: skip
    status = "FAILED"

    def stop_in_order() -> None:
        if status != "FINISHED":
            board.ask_to_leave()
            parent.finish("KILLED")
            late = threading.Timer(LEAVE_SECONDS, os._exit, (128 + signal.SIGTERM,))
            late.daemon = True
            late.start()

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    with (
        first_signal(STOPPING, stop_in_order) as signal_number,
        delivery(spool, run, opened.sweep.tracking.trackers) as couriers,
    ):
        export_backlog(couriers.get("mlflow"), sweep=ledger.folder.name)
        print(
            f"{num_trials} trials on {opened.prepared.meta['num_pairs']} pairs, {opened.concurrent} at a time"
            + (f"; going on after {opened.num_ended} that ended" if opened.is_resumed else ""),
            flush=True,
        )
        try:
            _train(opened, board, signal_number)
            _leave_if_asked(signal_number)
            board.give_up()
            _conclude(opened, spool, couriers, signal_number)
            status = "FINISHED"
        finally:
            status = "KILLED" if signal_number() and status != "FINISHED" else status
            board.leave()
            parent.finish(status)


def _tracked(opened: OpenSweep) -> TrackedRun:
    """The sweep's run, for trackers."""
    sweep, folder = opened.sweep, opened.ledger.folder

    def started(name: str, run_id: str) -> None:
        opened.ledger.record(name, mlflow_run_id=run_id)

    return TrackedRun(
        name=f"sweep {folder.name}", folder=folder, identity=opened.id,
        settings={"data": sweep.base.data.name, "num_workers": sweep.num_workers, "search": sweep.search},
        mlflow_uri=sweep.tracking.mlflow_uri, experiment=sweep.tracking.experiment, say=partial(print, flush=True), started=started,
    )  # fmt: skip


def _leave_if_asked(signal_number: Callable[[], int | None]) -> None:
    if number := signal_number():
        raise SystemExit(128 + number)


def _train(opened: OpenSweep, board: Board, stop: Callable[[], object]) -> None:
    """Train what is unfinished, then new trials; then again those whose processes died."""
    sweep, ledger, new = opened.sweep, opened.ledger, opened.new_trials()
    for attempt in range(1 + sweep.max_failures):
        again = unfinished_trials(ledger, sweep.base)
        queue = Queue(chain(again, new) if attempt == 0 else again, lambda: board.is_leaving)
        count = opened.num_trials - opened.num_ended
        if count and not stop():
            await_room(opened.workers, stop)
            run_trials(opened, queue, count, board)


def _conclude(
    opened: OpenSweep,
    spool: Spool,
    couriers: Mapping[str, Courier],
    signal_number: Callable[[], int | None],
) -> None:
    """Report the trials, and let the model registry decide, unless it is not asked or MLflow has not taken all."""
    remove_checkpoints(opened.ledger)
    mlflow = couriers.get("mlflow")
    left = mlflow.drain(DRAIN_SECONDS) if mlflow else 0  # after it the ledger has the ids of all runs
    found = read_trials(opened.ledger, opened.prepared.width)
    found = rank_finished(found, spool)
    finished = [trial for trial in found if trial.is_finished]
    parent, uri = spool.run(), opened.sweep.tracking.mlflow_uri or ""
    write_report(found, opened, parent)
    _leave_if_asked(signal_number)
    if not opened.sweep.register:
        print("registry: not asked (--no-register)", flush=True)
    elif not mlflow:
        print("registry: not asked (--trackers without mlflow)", flush=True)
    elif left:
        print(f"registry: not decided, {redact(uri)} has not taken all; {AGAIN}", flush=True)
    else:
        try:
            register_winners(finished, opened, uri, parent)
        except UnansweredError as error:
            print(f"registry: not decided, {error}; {AGAIN}", flush=True)
    _leave_if_asked(signal_number)
