"""Search objectives: each trial is a Ray Train run, measured in full and at byte budgets, tracked in MLflow, compared in a report.

ray job submit -- python -m ray_jobs.tune --output /shared/sweep --objectives infonce:0.06 tempaggmrl

ray job submit -- python -m ray_jobs.tune --output /shared/search --search tpe --num-trials 30 --early-stop

ray job submit -- python -m ray_jobs.tune --resume /shared/search --num-trials 50

A sweep is its settings and its folder: the same command again goes on where the last one ended, however it ended. It may be given
more trials, objectives and seeds.
"""

import dataclasses
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import tyro
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from ray_jobs.board import Board, results
from ray_jobs.connect import connect, temporary_folder
from ray_jobs.metrics import RunMetrics, tell_depth
from ray_jobs.queue import Queue, grid, is_unfinished, unfinished
from ray_jobs.queue import asked as proposed
from ray_jobs.run import (
    ERROR,
    LOST,
    PreparedData,
    await_room,
    check_batch,
    check_capacity,
    fit,
    fit_here,
    prepare_in_subprocess,
    save_codecs_in_subprocess,
)
from ray_jobs.sweep import (
    Sweep,
    check_resumed,
    folder_of,
    named_as_before,
    restored_sweep,
    shared_identity,
    unlike,
)
from tempembed.codecs.spec import ALIAS_BUDGETS, sweep_specs
from tempembed.reports.html import write_html
from tempembed.reports.table import result_table
from tempembed.run.folder import SPOOL
from tempembed.run.identity import differences
from tempembed.settings.places import output_place, with_places
from tempembed.settings.train import TrainSettings
from tempembed.system.atomic import write_json
from tempembed.system.cache import cache_dir
from tempembed.system.console import first_signal, run
from tempembed.system.disk import blamed_on_disk
from tempembed.system.errors import InfrastructureError, UserError
from tempembed.system.redact import redact, refuse_secret
from tempembed.system.untrusted import check_place
from tempembed.tracking.causes import UnansweredError
from tempembed.tracking.courier import Courier
from tempembed.tracking.mlflow import Delivery, check_server, start_run
from tempembed.tracking.registry import Registry
from tempembed.tracking.spool import Spool, SpooledRun
from tempembed.tracking.winners import Candidate, promote
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.pareto import pareto_ranks
from tempembed.tuning.stopping import savings
from tempembed.tuning.study import Study

LEAVE_SECONDS = 100.0
"""How long trials may take to stop with a checkpoint; jobs of our stack have RAY_JOB_STOP_WAIT_TIME_S = 120 for it."""
STOPPING = (
    "stopping: trials stop with a checkpoint; the same command goes on from here, again to stop at once"
)
AGAIN = "the same command again decides"
DRAIN_SECONDS = 5.0
"""How long the end of a sweep waits for MLflow before it leaves the registry undecided."""


def trial(
    config: dict[str, Any],
    *,
    prepared: str,
    output: str,
    measured: dict[str, Any],
    workers: dict[str, Any] | None,
    use_gpu: bool,
) -> None:
    """One trial, in its own process: trains here, or drives a Ray Train run; leaves its files behind.

    Args:
        config: the trial.
        prepared: folder of the data.
        output: of the sweep.
        measured: which budgets, and at which steps in mid-training.
        workers: how many of what size; None: here.
        use_gpu: train on one.
    """
    folder, name = Path(output) / "trials" / config["name"], config["name"]
    settings = TrainSettings.from_dict(config["settings"])
    metrics = RunMetrics(run=name, sweep=Path(output).name)
    what = {"prepared": Path(prepared), "output": folder, "spool": Path(output) / SPOOL, "run": name,
            "resume": config["resume"], **measured}  # fmt: skip

    def tell(report: dict[str, Any]) -> None:
        metrics.after_report(None, [report], None)
        tune.report(report)

    for file in (ERROR, LOST):  # of an earlier attempt
        (folder / file).unlink(missing_ok=True)
    try:
        if workers:
            fit(settings, **what, **workers, use_gpu=use_gpu, callbacks=[TuneReportCallback(), metrics])
        else:
            fit_here(settings, **what, use_gpu=use_gpu, tell=tell)
    except InfrastructureError as error:  # nothing that the trial did: the board has it trained again
        with suppress(OSError):  # a full disk
            (folder / LOST).write_text(str(error))
        raise
    except UserError as error:
        (folder / ERROR).write_text(str(error))
        if not workers:  # what Ray Train tells of its own
            cause = error.__cause__
            metrics.after_exception(None, {0: cause if isinstance(cause, Exception) else error})
        raise
    finally:
        metrics.forget()


def main() -> None:
    """Entry point."""
    sweep_trials(parsed())


def parsed(arguments: Sequence[str] | None = None) -> Sweep:
    """The sweep of a command line; with `--resume`, that of the folder, and what flags beside it change of it.

    Raises:
        UserError: they ask for another sweep.
    """
    parse = partial(
        tyro.cli,
        Sweep,
        prog="python -m ray_jobs.tune",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    sweep = parse()
    if sweep.resume:
        folder = folder_of(sweep.resume)
        stored = restored_sweep((Ledger(folder).settings() or {}).get("settings", {}))
        sweep = dataclasses.replace(parse(default=stored), output=str(folder))
        check_resumed(sweep, stored)
    return with_places(sweep)


def sweep_trials(sweep: Sweep, settings: dict[str, TrainSettings] | None = None) -> PreparedData:
    """Run a sweep to its end and report it.

    Args:
        sweep: its settings.
        settings: trials by name, in place of those that the sweep names.

    Returns:
        The data that they were trained and measured on.
    """
    output = output_place("--output", sweep.output)
    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    listed = settings or (sweep.grid() if sweep.search == "grid" else {})
    for each in listed.values() or [sweep.base]:
        check_batch(each, sweep.num_processes)
    refuse_secret("--mlflow-uri", sweep.mlflow_uri)
    uri = sweep.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output / 'mlflow.db'}"
    check_server(uri, sweep.experiment)
    ledger = Ledger(output)
    ledger.lock()
    there = None if sweep.fresh else ledger.settings()
    if there:  # refuse before the work of preparing
        stored = restored_sweep(there.get("settings", {}))
        ledger.refuse(differences(shared_identity(stored), shared_identity(sweep)))
    connect()
    with blamed_on_disk(output, cache_dir(), temporary_folder()):
        return _sweep(sweep, ledger, listed, uri, is_listed=bool(settings))


def _sweep(
    sweep: Sweep, ledger: Ledger, listed: dict[str, TrainSettings], uri: str, *, is_listed: bool
) -> PreparedData:
    """The sweep, from its data to its report.

    Args:
        sweep: its settings.
        ledger: of its folder.
        listed: trials by name; none where a study proposes them.
        uri: of MLflow.
        is_listed: the trials are not those that the settings name.
    """
    output, there = ledger.folder, None if sweep.fresh else ledger.settings()
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # the board says what matters
    concurrent = check_capacity(sweep.num_processes, sweep.cpus_per_worker, sweep.use_gpu)
    prepared = prepare_in_subprocess(next(iter(listed.values()), sweep.base))
    if not prepared.kinds:
        raise UserError(
            "a sweep compares by a test: expected --eval-data, or --hold-out above 0, got neither"
        )
    goals = tuple(goal for goal in sweep.goals if goal != "clustering" or goal in prepared.kinds)
    if goals != sweep.goals:
        print("--goals: clustering is left out, the test has no labels to compare clusters with", flush=True)
    if not goals:
        raise UserError(
            "--goals: expected one that the test can measure, got clustering and no labels; add retrieval"
        )
    sweep_specs(prepared.width, sweep.budgets)  # a budget that no codec meets: now
    for each in listed.values():
        each.loss.resolved_terms(prepared.width)
    rung_steps = sweep.rung_steps(prepared.num_steps)
    identity = there["id"] if there else uuid4().hex
    goes_on = ledger.open(
        {"id": identity, "settings": sweep.stored(), "data": prepared.facts.data, "encoder_content": prepared.facts.encoder,
         "test": prepared.test, "trials": {name: each.to_dict() for name, each in listed.items()} if is_listed else {}},
        unlike=partial(unlike, sweep=sweep, prepared=prepared, trials=listed), fresh=sweep.fresh,
    )  # fmt: skip
    if goes_on and not is_listed:
        listed = named_as_before(listed, ledger.records(), prepared.facts)
    study = None
    trials: Iterator[dict[str, Any]] = grid(ledger, listed)
    if not listed:
        study = Study(
            output / "study.db", num_goals=len(goals), families=sweep.families, width=prepared.width,
            sampler=sweep.search, seed=sweep.base.loop.seed,  # type: ignore[arg-type]
        )  # fmt: skip
        trials = proposed(ledger, study, sweep.num_trials, sweep.of_point)
    num_trials = len(listed) or sweep.num_trials
    params = {"data": sweep.base.data.data, "num_workers": sweep.num_workers, "search": sweep.search}
    spool = Spool(output / SPOOL)
    parent = spool.run()
    parent.go_on()
    parent.tag("num_trials", str(num_trials))  # it may grow, and MLflow's parameters are for ever
    board = Board(
        parent,
        ledger,
        num_trials=num_trials,
        at_once=concurrent,
        width=prepared.width,
        goals=goals,
        study=study,
    )
    root = start_run(
        uri, sweep.experiment, f"sweep {output.name}", params, identity, partial(print, flush=True)
    )

    def started(name: str, run_id: str) -> None:
        ledger.record(name, mlflow_run_id=run_id)

    courier = Courier(spool, Delivery(root, output, started), uri, partial(print, flush=True))
    tell_depth(courier, sweep=output.name)
    ended = sum(not is_unfinished(record) for record in ledger.records())
    print(
        f"{num_trials} trials on {prepared.meta['num_pairs']} pairs, {concurrent} at a time"
        + (f"; going on after {ended} that ended" if goes_on else ""),
        flush=True,
    )
    status, left = "FAILED", 0

    def stop_in_order() -> None:
        if status != "FINISHED":
            board.ask_to_leave()
            parent.finish("KILLED")
            late = threading.Timer(LEAVE_SECONDS, os._exit, (128 + signal.SIGTERM,))
            late.daemon = True
            late.start()

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    with first_signal(STOPPING, stop_in_order) as asked:

        def leave_if_asked() -> None:
            if number := asked():
                raise SystemExit(128 + number)

        try:
            for attempt in range(1 + sweep.max_failures):
                again = unfinished(ledger, sweep.base)
                todo = chain(again, trials) if attempt == 0 else again
                count = num_trials - sum(not is_unfinished(record) for record in ledger.records())
                if count and not asked():
                    await_room(sweep.num_processes, sweep.cpus_per_worker, sweep.use_gpu, asked)
                    queue = Queue(todo, lambda: board.is_leaving)
                    _tune(sweep, queue, count, prepared, output, board, concurrent, rung_steps)
            leave_if_asked()
            board.give_up()
            _remove_checkpoints(ledger)
            left = courier.drain(DRAIN_SECONDS)  # after it the ledger has the ids of all runs
            found = results(ledger, prepared.width)
            for result, rank in zip(
                done := [r for r in found if r["status"] == "FINISHED"],
                pareto_ranks([list(r["goals"].values()) for r in done]),
                strict=True,
            ):
                result["pareto_rank"] = rank
                spool.run(result["name"]).points([("pareto_rank", rank, 0)])
            _report(found, sweep, prepared, output, parent)
            leave_if_asked()
            if not sweep.register:
                print("registry: not asked (--no-register)", flush=True)
            elif left:
                print(f"registry: not decided, {redact(uri)} has not taken all; {AGAIN}", flush=True)
            else:
                try:
                    _promote(done, sweep, ledger, prepared, uri, parent)
                except UnansweredError as error:
                    print(f"registry: not decided, {error}; {AGAIN}", flush=True)
            leave_if_asked()
            status = "FINISHED"
        finally:
            status = "KILLED" if asked() and status != "FINISHED" else status
            board.leave()
            parent.finish(status)
            courier.close(1.0 if left else 8.0)
    return prepared


def _remove_checkpoints(ledger: Ledger) -> None:
    """Of trials that will not go on; those that finished have none."""
    for record in ledger.records():
        if record["status"] != "FINISHED" and not is_unfinished(record):
            shutil.rmtree(ledger.trial_folder(record["name"]) / "checkpoints", ignore_errors=True)


def _promote(
    done: list[dict[str, Any]],
    sweep: Sweep,
    ledger: Ledger,
    prepared: PreparedData,
    uri: str,
    parent: SpooledRun,
) -> None:
    """The registry's decisions, printed, kept as decisions.json, and in the parent run."""
    candidates = [
        Candidate(name=r["name"], folder=ledger.trial_folder(r["name"]), run_id=r["mlflow_run_id"], result=r)
        for r in done
    ]
    aliases = ("full", *(f"bytes-{budget}" for budget in ALIAS_BUDGETS))
    name, decisions = promote(
        Registry(uri), candidates, aliases, sweep.base.data.data, prepared.meta["fingerprint"],
        partial(save_codecs_in_subprocess, prepared.folder),
    )  # fmt: skip
    for decision in decisions:
        print(f"registry: {decision.why}", flush=True)
    kept = {"name": name, "decisions": [dataclasses.asdict(decision) for decision in decisions]}
    write_json(ledger.folder / "decisions.json", kept)
    parent.file(ledger.folder / "decisions.json")


def _report(
    found: list[dict[str, Any]], sweep: Sweep, prepared: PreparedData, output: Path, parent: SpooledRun
) -> None:
    """Write trials.json and report.html, and say what failed.

    Raises:
        UserError: no trial finished, or none of a family.
    """
    write_json(output / "trials.json", found)
    done = [r for r in found if r["status"] == "FINISHED"]
    saved = savings(found, prepared.num_steps)
    if done:
        write_html(found, prepared.meta, output / "report.html", note=str(saved or ""))
        for name in ("report.html", "trials.json"):
            parent.file(output / name)
        print(result_table(done))
        if saved:
            print(saved)
        print(f"report: {output / 'report.html'}", flush=True)
    families: dict[str, list[dict[str, Any]]] = {}
    for result in found:
        families.setdefault(result.get("family") or result["objective"].split(":")[0], []).append(result)
        if result["status"] == "FAILED":
            print(f"failed: {result['name']}: {result['error']}", flush=True)
    for family, members in families.items():
        if all(r["status"] == "FAILED" for r in members):
            raise UserError(
                f"family {family}: expected at least one trial to finish, all {len(members)} failed, the first with: "
                f"{members[0]['error']}"
            )
    if not done:
        raise UserError(
            f"expected at least one trial to finish, got none of {len(found)}; lower --reduction-factor or --rungs, or add trials"
        )


def _name_of(trial: Any) -> str:
    return trial.config["name"]


def _tune(
    sweep: Sweep,
    queue: Queue,
    num_trials: int,
    prepared: PreparedData,
    output: Path,
    board: Board,
    concurrent: int,
    rung_steps: list[int],
) -> None:
    trainable = tune.with_parameters(
        trial,
        prepared=str(prepared.folder),
        output=str(output),
        measured={"budgets": sweep.budgets, "probe_at": rung_steps},
        workers={
            "num_workers": sweep.num_workers,
            "cpus_per_worker": sweep.cpus_per_worker,
        }
        if sweep.num_workers
        else None,
        use_gpu=sweep.use_gpu,
    )
    # A process that only waits for its workers must hold no CPU that they need (docs/design/ray-and-mlflow.md): it takes a sliver of
    # the resource that every head node has.
    size = {"node:__internal_head__": 0.001}
    if not sweep.num_workers:
        size = {"CPU": sweep.cpus_per_worker, **({"GPU": 1.0} if sweep.use_gpu else {})}
    resources = tune.PlacementGroupFactory([size])
    scheduler = None
    if rung_steps:
        os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = (
            "1"  # only the reports at the rungs carry the score
        )
        scheduler = ASHAScheduler(
            time_attr="step",  # ours: Tune's own count starts again at 1 when a trial goes on
            metric=f"probe/score_at_{sweep.stop_bytes}_bytes", mode="max",
            grace_period=rung_steps[0], max_t=sys.maxsize, reduction_factor=sweep.reduction_factor,
        )  # fmt: skip
    tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=num_trials,
            max_concurrent_trials=concurrent,
            scheduler=scheduler,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,  # what TensorBoard shows
            reuse_actors=not rung_steps,  # a trial that was stopped leaves an actor that cannot be used again
        ),
        run_config=tune.RunConfig(name=".tune", storage_path=str(output), callbacks=[board], verbose=0),
    ).fit()


if __name__ == "__main__":
    run(main)
