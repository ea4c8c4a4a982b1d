"""Drives one run on Ray Train workers, from its data to its report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.capacity import check_capacity
from ray_jobs.drive import Asked, drive_to_end
from ray_jobs.fit import fit
from ray_jobs.metrics import evaluation_samples, export
from ray_jobs.prepared import PreparedData, prepare_in_subprocess, with_tau_in_subprocess
from ray_jobs.train_work import TrainAssignment
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.reports.model_page import write_model_page
from tempembed.reports.report_text import score_text
from tempembed.reports.retrievals import PAGE
from tempembed.run.folder import RunFolder
from tempembed.run.identity import differences
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.tracking.datasets import tracked_datasets
from tempembed.tracking.points import evaluation_points, model_facts, summary_points
from tempembed.tracking.spool import SpooledRun
from tempembed.tracking.tracked import pretraining_tags
from tempembed.tracking.tracker import Point
from tempembed.tuning.judge import handed_over
from tempembed.tuning.temperature import TAU
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


def drive(asked: Asked[TrainSettings]) -> None:
    """Prepare, train and report.

    Raises:
        UserError: the run failed, or the folder holds another one.
        SystemExit: the run was asked to stop.
    """
    settings, output = asked.settings, asked.output
    check_capacity(asked.workers)
    prepared = prepare_in_subprocess(settings)
    _open(asked, prepared)

    def begin(root: SpooledRun) -> None:
        root.datasets(tracked_datasets(settings.data, prepared.meta))
        for key, value in pretraining_tags(settings.model.encoder).items():
            root.tag(key, value)

    def train(spool: Path, callbacks: Sequence[Any]) -> None:
        if not (output / REPORT).exists():
            chosen = with_tau_in_subprocess(
                settings, prepared.folder, output / TAU, use_gpu=asked.workers.use_gpu
            )
            assignment = TrainAssignment(
                settings=chosen, prepared=prepared.folder, output=output, spool=spool, resume=True
            )
            fit(assignment, asked.workers, callbacks)

    def end(root: SpooledRun) -> None:
        scores = _tell_evaluation(asked.folder, root) if (output / REPORT).exists() else []
        root.model(model_facts(settings), scores)

    drive_to_end(asked, begin=begin, train=train, end=end)


def _open(asked: Asked[TrainSettings], prepared: PreparedData) -> None:
    """Write what the run is into its folder, or resume the one that is there."""
    tested = (asked.folder.settings() or {}).get("test", prepared.test)
    unlike = partial(differences_to, settings=asked.settings, prepared=prepared)
    if asked.open(unlike, **prepared.facts.noted(), test=prepared.test) and tested != prepared.test:
        # measured on another test: the model is there, and is measured again
        (asked.output / REPORT).unlink(missing_ok=True)


def _tell_evaluation(folder: RunFolder, root: SpooledRun) -> list[Point]:
    """Print the scores of the finished model, and tell Prometheus and the trackers; those that models are compared by."""
    path = folder.folder / REPORT
    report = read_report(path)
    print(score_text(report))
    verdict = read_verdict(path.with_name(VERDICT))
    for line in verdict.lines() if verdict else [handed_over(folder.folder)[1]]:
        print(line, flush=True)
    shown = path.with_name(PAGE)
    write_model_page(report, path.with_suffix(".html"), verdict=verdict, retrievals=shown)
    export(evaluation_samples(report), run=folder.folder.name)
    root.points(evaluation_points(report))
    root.file(path)
    return summary_points(report)
