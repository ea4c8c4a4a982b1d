"""`tempembed train`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempembed.run.folder import hold
from tempembed.settings.places import with_places
from tempembed.settings.train import TrainSettings
from tempembed.system.cache import cache_dir
from tempembed.system.console import first_signal, progress_line, say
from tempembed.system.disk import blamed_on_disk
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run and where it is kept."""

    train: TrainSettings = field(default_factory=TrainSettings)

    output: str
    """Folder for the model, its settings, metrics.jsonl and checkpoints."""

    @property
    def settings(self) -> TrainSettings:
        """The run without where it is kept; what it reads has absolute paths."""
        return with_places(self.train)


@dataclass(frozen=True, kw_only=True)
class Train(Run):
    """Train an encoder on pairs and save it as a sentence-transformers model.

    Example: tempembed train --data pairs.parquet --objective tempaggmrl --output runs/one

    Then: tempembed evaluate runs/one --data test.parquet --output report.json

    Ctrl-C stops at the next report, with a checkpoint.
    """

    resume: bool = False
    """Go on from the newest checkpoint in --output; what changes the result must be the same: the content of the data and of the
    encoder, the objective, the optimiser, the seed and the steps."""
    stop_after: int | None = None
    """Stop at this step with a checkpoint, as if interrupted; go on with --resume."""


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse to write over what an earlier run left."""
    check_place(output, "--output")
    left = sorted(path.name for path in output.iterdir() if path.name != ".lock") if output.is_dir() else []
    if left and not resume:
        raise UserError(
            f"--output {output}: expected a new or empty folder, found {', '.join(left[:5])}; "
            "add --resume to go on with an earlier run there, or choose another folder"
        )


def train_command(command: Train) -> None:
    """`tempembed train`."""
    output = Path(command.output).expanduser()
    if command.stop_after is not None and command.stop_after < 1:
        raise UserError(f"--stop-after: expected >= 1, got {command.stop_after}")
    check_output(output, resume=command.resume)
    with blamed_on_disk(output, cache_dir()):
        _train(command, output)


def _train(command: Train, output: Path) -> None:
    """The run, from its data to its evaluation."""
    from tempembed.evaluation.trained import REPORT, evaluate_trained
    from tempembed.stages.contrastive import train_pairs
    from tempembed.stages.prepare import prepare
    from tempembed.tracking.tracker import JsonlTracker

    prepared = prepare(command.settings, say)
    output.mkdir(parents=True, exist_ok=True)
    tracker = JsonlTracker(output / "metrics.jsonl")

    def report(metrics: dict[str, Any]) -> None:
        tracker.log(metrics)
        say(progress_line(metrics))

    stopping = "stopping at the next report, with a checkpoint; again to stop at once"
    with hold(output, "run"), first_signal(stopping) as caught:
        is_trained = train_pairs(
            command.settings, prepared, output, report,
            resume=command.resume, stop_after=command.stop_after, stop=lambda: caught() is not None, say=say,
        )  # fmt: skip
    if not is_trained:
        say("stopped with a checkpoint; go on with --resume")
        if number := caught():
            sys.exit(128 + number)
        return
    say(f"model: {output}")
    if number := caught():
        say(f"not evaluated; tempembed evaluate {output} does it")
        sys.exit(128 + number)
    if test := prepared.evaluation():
        evaluate_trained(output, test, say)
        say(f"evaluation: {output / REPORT}")
