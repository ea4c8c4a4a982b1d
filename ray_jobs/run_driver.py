"""Drives one run on Ray Train workers, from its data to its report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.capacity import Workers, check_capacity
from ray_jobs.drive import drive_to_end, tracked_run
from ray_jobs.fit import fit
from ray_jobs.metrics import evaluation_samples, export
from ray_jobs.prepared import PreparedData, prepare_in_subprocess
from ray_jobs.train_work import TrainAssignment
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.reports.model_page import write_model_page
from tempembed.reports.report_text import score_text
from tempembed.run.folder import RunFolder
from tempembed.run.identity import differences
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.tracking.datasets import tracked_datasets
from tempembed.tracking.points import evaluation_points, model_facts, summary_points
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import SpooledRun
from tempembed.tracking.tracked import pretraining_tags
from tempembed.tracking.tracker import Point
from tempembed.tuning.judge import handed_over
from tempembed.tuning.verdict import VERDICT, read_verdict


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

    def train(spool: Path, callbacks: Sequence[Any]) -> None:
        if not (output / REPORT).exists():
            assignment = TrainAssignment(
                settings=settings, prepared=prepared.folder, output=output, spool=spool, resume=True
            )
            fit(assignment, workers, callbacks)

    def end(root: SpooledRun) -> None:
        scores = _tell_evaluation(folder, root) if (output / REPORT).exists() else []
        root.model(model_facts(settings), scores)

    def begin(root: SpooledRun) -> None:
        root.datasets(tracked_datasets(settings.data, prepared.meta))
        for key, value in pretraining_tags(settings.model.encoder).items():
            root.tag(key, value)

    run = tracked_run(folder, settings.to_dict(), tracking, identity)
    drive_to_end(run, tracking.trackers, begin=begin, train=train, end=end)


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
