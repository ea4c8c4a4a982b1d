"""`tempembed train`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tempembed.commands.local_run import STOPPING, LocalRun, end_stopped, reporter, run_here
from tempembed.run.folder import hold
from tempembed.settings.config import Configured
from tempembed.settings.places import with_places
from tempembed.settings.train import TrainSettings
from tempembed.system.console import first_signal, say
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.tracker import Tracker

if TYPE_CHECKING:
    from tempembed.evaluation.report import Evaluation
    from tempembed.stages.prepared import Prepared

PAGE = "evaluation.html"
"""The report of a run with pictures, in its folder."""


@dataclass(frozen=True, kw_only=True)
class Run(Configured):
    """A training run and where it is kept."""

    train: TrainSettings = field(default_factory=TrainSettings)

    output: str
    """Folder for the model, its settings, metrics.jsonl and checkpoints."""

    @property
    def settings(self) -> TrainSettings:
        """The run without where it is kept; what it reads has absolute paths."""
        return with_places(self.train)


@dataclass(frozen=True, kw_only=True)
class Train(LocalRun, Run):
    """Train an encoder on pairs and save it as a sentence-transformers model.

    Example: tempembed train --data pairs.parquet --objective tempaggmrl --output runs/one

    Then: tempembed evaluate runs/one --data test.parquet --output report.json

    Ctrl-C stops at the next report, with a checkpoint.
    """


def train_command(command: Train) -> None:
    """`tempembed train`."""
    run_here(command, command.output, partial(_train, command))


def _train(command: Train, output: Path, tracking: TrackingSettings) -> None:
    """The run, from its data to its evaluation."""
    from tempembed.stages.contrastive import train_pairs
    from tempembed.stages.prepare import prepare_with_encoder
    from tempembed.tracking.datasets import tracked_datasets
    from tempembed.tracking.tracked import pretraining_tags, tracked
    from tempembed.tuning.goals import check_goals
    from tempembed.tuning.judge import start_of
    from tempembed.tuning.selection import check_goal, dev_probe, selection
    from tempembed.tuning.temperature import TAU, check_tau, with_chosen_temperature

    settings = command.settings
    if settings.loop.goal:
        check_goals([settings.loop.goal], "--goal")  # before the work of preparing
    prepared, encoder = prepare_with_encoder(settings, say)
    for line in check_goal(settings, prepared):
        say(line)
    check_tau(settings, encoder.width)
    output.mkdir(parents=True, exist_ok=True)
    datasets = tracked_datasets(settings.data, prepared.meta)
    tags = pretraining_tags(settings.model.encoder)
    with (
        hold(output, "run"),
        tracked(output, settings.to_dict(), datasets, tracking, say, tags) as trackers,
    ):
        settings = with_chosen_temperature(settings, prepared, output / TAU, say)
        start = start_of(settings, prepared, encoder, say)
        with first_signal(STOPPING) as signal_number:
            is_trained = train_pairs(
                settings, prepared, output, reporter(output, trackers), encoder=encoder,
                probe=dev_probe(prepared, settings.loop.goal) if settings.loop.goal else None, selection=selection(settings),
                resume=command.resume, stop_after=command.stop_after, stop=lambda: signal_number() is not None, say=say,
            )  # fmt: skip
        if not is_trained:
            end_stopped(signal_number())
            return
        if number := signal_number():
            say(f"model: {output}; not evaluated; tempembed evaluate {output} does it")
            sys.exit(128 + number)
        _report(settings, prepared, output, start, trackers)


def _report(
    settings: TrainSettings,
    prepared: "Prepared",
    output: Path,
    start: "Evaluation | None",
    trackers: Sequence[Tracker],
) -> None:
    """Measure the finished model, compare it with its start, and tell trackers and the person who started the run."""
    from tempembed.encoders.load import load_encoder
    from tempembed.evaluation.report_files import REPORT
    from tempembed.evaluation.trained import evaluate_trained
    from tempembed.reports.model_page import write_model_page
    from tempembed.reports.retrievals import PAGE as RETRIEVALS
    from tempembed.reports.retrievals import write_retrievals_page
    from tempembed.tracking.jsonl import METRICS
    from tempembed.tracking.points import evaluation_points, model_facts, summary_points, tell_verdict
    from tempembed.tuning.judge import handed_over, judge, measured_part

    measured = verdict = None
    if part := measured_part(prepared):
        measured = evaluate_trained(output, part[0], say)
        for tracker in trackers:
            tracker.points("", evaluation_points(measured))
            tracker.file("", (output / REPORT).absolute())
        if start:
            verdict = judge(settings, prepared, start, output, metrics=output / METRICS)
            tell_verdict(verdict, trackers, "", output)
        if "image" in prepared.modalities:
            write_retrievals_page(load_encoder(str(output)), part[0], output / RETRIEVALS)
            for tracker in trackers:
                tracker.file("", (output / RETRIEVALS).absolute())
        write_model_page(measured, output / PAGE, verdict=verdict, retrievals=output / RETRIEVALS)
    for tracker in trackers:
        tracker.model("", model_facts(settings), summary_points(measured) if measured else [])
    for line in verdict.lines() if verdict else [handed_over(output)[1]]:
        say(line)
    where = f"   evaluation: {output / REPORT}   pictures: {output / PAGE}" if measured else ""
    say(f"model: {output}{where}")
