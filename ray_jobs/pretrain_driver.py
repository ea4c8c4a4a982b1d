"""Drives one pre-training run on Ray Train workers, from its text to its model."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.capacity import Workers, check_capacity
from ray_jobs.drive import drive_to_end, tracked_run
from ray_jobs.fit import fit
from ray_jobs.isolate import in_subprocess
from ray_jobs.pretrain_work import PretrainAssignment
from tempembed.commands.pretrain import pretrained_lines
from tempembed.run.folder import RunFolder
from tempembed.run.identity import differences
from tempembed.settings.flat import restored
from tempembed.settings.pretrain import PretrainSettings
from tempembed.stages.masked_language import RESUMABLE_SETTINGS
from tempembed.system.errors import UserError
from tempembed.tracking.datasets import tracked_text
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import SpooledRun


def check_batch(settings: PretrainSettings, num_workers: int) -> None:
    """Raise UserError unless the sequences of a batch divide over the workers."""
    if settings.batch_sequences % num_workers:
        raise UserError(
            f"--batch-tokens: expected a number of sequences of --max-tokens {settings.model.max_tokens} that divides over "
            f"{num_workers} workers, got {settings.batch_sequences} sequences: change --batch-tokens, or the number of workers"
        )


def drive(
    settings: PretrainSettings,
    workers: Workers,
    tracking: TrackingSettings,
    folder: RunFolder,
    identity: str,
    *,
    fresh: bool,
) -> None:
    """Prepare the text, pre-train and report.

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
    if workers.shard:
        raise UserError(
            "--shard: expected ray_jobs.train, pre-training keeps the whole model on each worker; leave --shard out"
        )
    shards, meta = in_subprocess(_prepare, settings)
    content = {"id": identity, "settings": settings.to_dict(), "text": meta["fingerprint"]}
    if folder.open(
        content, unlike=partial(_unlike, settings=settings, text=meta["fingerprint"]), fresh=fresh
    ):
        print(f"going on with {output}", flush=True)

    def train(spool: Path, callbacks: Sequence[Any]) -> None:
        assignment = PretrainAssignment(
            settings=settings, shards=shards, output=output, spool=spool, resume=True
        )
        fit(assignment, workers, callbacks)

    def end(root: SpooledRun) -> None:
        root.model(settings.facts(), [])
        print(*pretrained_lines(output)[:-1], sep="\n", flush=True)

    drive_to_end(
        tracked_run(folder, settings.to_dict(), tracking, identity), tracking.trackers,
        begin=lambda root: root.datasets(tracked_text(settings.text, meta)), train=train, end=end,
    )  # fmt: skip


def _unlike(there: Mapping[str, Any], settings: PretrainSettings, text: str) -> str:
    """What makes the run that is there another one; whether its steps may grow, its checkpoints tell."""
    stored = restored(PretrainSettings(), there.get("settings"), settings)
    free = {*RESUMABLE_SETTINGS, "steps", "tokens"}

    def identity(settings: PretrainSettings, text: str) -> dict[str, Any]:
        return {name: value for name, value in settings.to_dict().items() if name not in free} | {
            "text": text
        }

    return differences(identity(stored, there.get("text", "")), identity(settings, text))


def _prepare(settings: PretrainSettings) -> tuple[Path, dict[str, Any]]:
    from tempembed.stages.pretraining_text import prepared_text

    shards = prepared_text(settings, lambda line: print(line, flush=True))
    return shards.folder, shards.meta
