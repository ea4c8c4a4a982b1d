"""`tempembed pretrain`."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tempembed.commands.local_run import STOPPING, LocalRun, end_stopped, reporter, run_here
from tempembed.run.folder import hold
from tempembed.settings.config import Configured
from tempembed.settings.places import with_places
from tempembed.settings.pretrain import PretrainSettings
from tempembed.system.console import first_signal, say
from tempembed.tracking.settings import TrackingSettings


@dataclass(frozen=True, kw_only=True)
class PretrainRun(Configured):
    """A pre-training run and where it is kept."""

    pretrain: PretrainSettings = field(default_factory=PretrainSettings)

    output: str
    """Folder for the model, its settings, metrics.jsonl and checkpoints."""

    @property
    def settings(self) -> PretrainSettings:
        """The run without where it is kept; what it reads has absolute paths."""
        model = self.pretrain.model
        named = {"encoder": model.encoder} if model.is_made_here else {}  # whatever folder is called so
        return with_places(self.pretrain, **named)


@dataclass(frozen=True, kw_only=True)
class Pretrain(LocalRun, PretrainRun):
    """Pre-train an encoder on raw text by masked language modelling: stage 1; `tempembed train` is stage 2.

    Example: tempembed pretrain --text installed-text --output runs/base

    Then: tempembed train --encoder runs/base --output runs/one

    Ctrl-C stops at the next report, with a checkpoint.
    """

    resume: bool = False
    """Continue from the newest checkpoint in --output; what changes the result must be the same, but --steps may grow while the
    learning rate is constant."""


def pretrain_command(command: Pretrain) -> None:
    """`tempembed pretrain`."""
    run_here(command, command.output, partial(_pretrain, command))


def _pretrain(command: Pretrain, output: Path, tracking: TrackingSettings) -> None:
    from tempembed.stages.masked_language import pretrain_text
    from tempembed.stages.pretraining_text import prepared_text
    from tempembed.tracking.datasets import tracked_text
    from tempembed.tracking.tracked import tracked

    settings = command.settings
    shards = prepared_text(settings, say)
    output.mkdir(parents=True, exist_ok=True)
    datasets = tracked_text(settings.text, shards.meta)
    with hold(output, "run"), tracked(output, settings.to_dict(), datasets, tracking, say, {}) as trackers:
        with first_signal(STOPPING) as signal_number:
            is_trained = pretrain_text(
                settings, shards, output, reporter(output, trackers), resume=command.resume, stop_after=command.stop_after,
                stop=lambda: signal_number() is not None, say=say,
            )  # fmt: skip
        if not is_trained:
            end_stopped(signal_number())
            return
        for tracker in trackers:
            tracker.model("", settings.facts(), [])
        for line in pretrained_lines(output):
            say(line)


def pretrained_lines(output: Path) -> list[str]:
    """What a finished run did, for the person who started it."""
    from tempembed.tracking.jsonl import METRICS, read_jsonl

    last: dict[str, Any] = {}
    for metrics in read_jsonl(output / METRICS):
        last |= metrics
    lines = [
        f"{last['train/tokens_seen']:,.0f} tokens, {last['train/tokens_per_second']:,.0f} a second: "
        f"{last['train/gflops']:,.0f} GFLOP/s, {last['train/mfu']:.0%} of what this machine's products reach"
    ]
    if "probe/masked_loss" in last:
        lines.append(
            f"on {last['probe/documents']:.0f} held-out documents: loss {last['probe/masked_loss']:.3f} and {last['probe/masked_accuracy']:.1%} "
            f"right at masks (15 %); mean-pooled, {last['probe/pca95']:.0f} directions carry 95 % of the variance, and half a document "
            f"finds its other half in {last['probe/half_retrieval']:.1%}"
        )
    return [
        *lines,
        f"model: {output}   next: tempembed train --encoder {output} --data pairs.parquet --output ...",
    ]
