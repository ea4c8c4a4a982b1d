"""Drives one run on Ray Train workers, from its data to its report."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from ray_jobs.capacity import Workers, check_capacity
from ray_jobs.fit import fit
from ray_jobs.metrics import RunMetrics, evaluation_samples, export, export_backlog
from ray_jobs.prepared import PreparedData, prepare_in_subprocess
from ray_jobs.progress import Progress, followed
from ray_jobs.worker import STOP, Assignment
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.reports.model_page import write_model_page
from tempembed.reports.report_text import score_text
from tempembed.run.folder import SPOOL, RunFolder
from tempembed.run.identity import differences
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.system.console import first_signal
from tempembed.system.errors import UserError
from tempembed.tracking.datasets import tracked_datasets
from tempembed.tracking.delivery import delivery
from tempembed.tracking.points import evaluation_points, model_facts, summary_points
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import Spool, SpooledRun
from tempembed.tracking.tracker import Point, TrackedRun
from tempembed.tuning.judge import handed_over
from tempembed.tuning.verdict import VERDICT, read_verdict

PROGRESS = "progress.log"
STOPPING = "stopping with a checkpoint; run the same command again to resume, Ctrl-C again to stop at once"


def differences_to(
    there: dict[str, Any],
    settings: TrainSettings,
    prepared: PreparedData | None = None,
) -> str:
    """What makes the run that is there another one; empty where it is the same.

    Args:
        there: what the folder holds of it.
        settings: as asked for now.
        prepared: its data now; None: only what can be told before the data is read.
    """
    stored = restored_settings(there.get("settings") or {}, settings)
    if prepared is None:
        return differences(settings_identity(stored), settings_identity(settings))

    def identity(settings: TrainSettings, facts: Facts) -> dict[str, Any]:
        asked = (
            settings.model.precision
        )  # of "auto" only workers know what it comes to, and they go on in what they began in
        return run_identity(settings, facts, bfloat16=None if asked == "auto" else asked == "bfloat16")

    before = identity(stored, prepared.facts.restored(there, stored))
    return differences(before, identity(settings, prepared.facts))


def drive(
    settings: TrainSettings,
    workers: Workers,
    tracking: TrackingSettings,
    folder: RunFolder,
    identity: str,
    *,
    fresh: bool,
) -> None:
    """Prepare, train and report.

    Args:
        settings: what is trained.
        workers: on how many workers.
        tracking: resolved.
        folder: the run's, locked.
        identity: the run's, for trackers.
        fresh: throw away what an earlier run left.

    Raises:
        UserError: the run failed, or the folder holds another one.
        SystemExit: the run was asked to stop.
    """
    output = folder.folder
    check_capacity(workers)
    prepared = prepare_in_subprocess(settings)
    _open(folder, settings, prepared, identity, fresh=fresh)
    spool = Spool(output / SPOOL)
    root, status = spool.run(), "FAILED"
    root.start(settings.to_dict())
    root.datasets(tracked_datasets(settings.data, prepared.meta))

    def stop_in_order() -> None:
        (output / STOP).touch()  # the workers stop at their next report, with a checkpoint
        if status != "FINISHED":
            root.finish("KILLED")  # now: a Ray of somebody else kills three seconds after `ray job stop`

    with ExitStack() as at_the_end:
        signal_number = at_the_end.enter_context(first_signal(STOPPING, stop_in_order))
        run = _tracked(settings, tracking, folder, identity)
        couriers = at_the_end.enter_context(delivery(spool, run, tracking.trackers))
        export_backlog(couriers.get("mlflow"), run=output.name)
        at_the_end.callback(lambda: root.finish(status))
        at_the_end.enter_context(followed(output / PROGRESS))
        try:
            if not (output / REPORT).exists() and not signal_number():
                assignment = Assignment(
                    settings=settings, prepared=prepared.folder, output=output, spool=spool.path, resume=True
                )
                callbacks = [Progress(output / PROGRESS), RunMetrics(run=output.name)]
                fit(assignment, workers, callbacks)
        except UserError:
            status = "KILLED" if signal_number() else "FAILED"
            raise
        if number := signal_number():
            status = "KILLED"
            raise SystemExit(128 + number)
        scores = _tell_evaluation(folder, root) if (output / REPORT).exists() else []
        root.model(model_facts(settings), scores)
        status = "FINISHED"
    print(f"model: {output}", flush=True)


def _open(
    folder: RunFolder,
    settings: TrainSettings,
    prepared: PreparedData,
    identity: str,
    *,
    fresh: bool,
) -> None:
    """Write what the run is into its folder, or resume the one that is there."""
    output = folder.folder
    tested = (folder.settings() or {}).get("test", prepared.test)
    content = {
        "id": identity,
        "settings": settings.to_dict(),
        **prepared.facts.noted(),
        "test": prepared.test,
    }
    unlike = partial(differences_to, settings=settings, prepared=prepared)
    if folder.open(content, unlike=unlike, fresh=fresh):
        print(f"going on with {output}", flush=True)
        if tested != prepared.test:  # measured on another test: the model is there, and is measured again
            (output / REPORT).unlink(missing_ok=True)


def _tracked(
    settings: TrainSettings, tracking: TrackingSettings, folder: RunFolder, identity: str
) -> TrackedRun:
    output = folder.folder
    return TrackedRun(
        name=output.name, folder=output, settings=settings.to_dict(), identity=identity,
        mlflow_uri=tracking.mlflow_uri, experiment=tracking.experiment, say=partial(print, flush=True),
    )  # fmt: skip


def _tell_evaluation(folder: RunFolder, root: SpooledRun) -> list[Point]:
    """Print the scores of the finished model, and tell Prometheus and the trackers; those that models are compared by."""
    path = folder.folder / REPORT
    report = read_report(path)
    print(score_text(report))
    verdict = read_verdict(path.with_name(VERDICT))
    for line in verdict.lines() if verdict else [handed_over(folder.folder)[1]]:
        print(line, flush=True)
    write_model_page(report, path.with_suffix(".html"), verdict=verdict)
    export(evaluation_samples(report), run=folder.folder.name)
    root.points(evaluation_points(report))
    root.file(path)
    return summary_points(report)
