"""Drives one pre-training run on Ray Train workers, from its text to its model."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.capacity import check_capacity
from ray_jobs.drive import Asked, drive_to_end
from ray_jobs.fit import fit
from ray_jobs.isolate import in_subprocess
from ray_jobs.pretrain_work import PretrainAssignment
from tempembed.commands.pretrain import pretrained_lines
from tempembed.run.identity import differences
from tempembed.settings.flat import restored
from tempembed.settings.pretrain import PretrainSettings
from tempembed.stages.masked_language import RESUMABLE_SETTINGS
from tempembed.system.errors import UserError
from tempembed.tracking.datasets import tracked_text
from tempembed.tracking.spool import SpooledRun


def check_batch(settings: PretrainSettings, num_workers: int) -> None:
    """Raise UserError unless the sequences of a batch divide over the workers."""
    if settings.batch_sequences % num_workers:
        raise UserError(
            f"--batch-tokens: expected a number of sequences of --max-tokens {settings.model.max_tokens} that divides over "
            f"{num_workers} workers, got {settings.batch_sequences} sequences: change --batch-tokens, or the number of workers"
        )


def differences_to(there: Mapping[str, Any], settings: PretrainSettings, text: str | None = None) -> str:
    """What makes the run that is there another one; empty where it is the same. Whether its steps may grow, its checkpoints tell.

    Args:
        there: what the folder holds of it.
        settings: as asked for now.
        text: fingerprint of its text now; None: only what can be told before it is read.
    """
    stored = restored(PretrainSettings(), there.get("settings"), settings)
    free = {*RESUMABLE_SETTINGS, "steps", "tokens"}
    before, now = (
        {name: value for name, value in each.to_dict().items() if name not in free}
        for each in (stored, settings)
    )
    if text is not None:
        before, now = before | {"text": there.get("text", "")}, now | {"text": text}
    return differences(before, now)


def drive(asked: Asked[PretrainSettings]) -> None:
    """Prepare the text, pre-train and report.

    Raises:
        UserError: the run failed, or the folder holds another one.
        SystemExit: the run was asked to stop.
    """
    settings, output = asked.settings, asked.output
    check_capacity(asked.workers)
    if asked.workers.shard:
        raise UserError(
            "--shard: expected ray_jobs.train, pre-training keeps the whole model on each worker; leave --shard out"
        )
    shards, meta = in_subprocess(_prepare, settings)
    text = meta["fingerprint"]
    asked.open(partial(differences_to, settings=settings, text=text), text=text)

    def train(spool: Path, callbacks: Sequence[Any]) -> None:
        assignment = PretrainAssignment(
            settings=settings, shards=shards, output=output, spool=spool, resume=True
        )
        fit(assignment, asked.workers, callbacks)

    def end(root: SpooledRun) -> None:
        root.model(settings.facts(), [])
        print(*pretrained_lines(output)[:-1], sep="\n", flush=True)

    drive_to_end(
        asked, begin=lambda root: root.datasets(tracked_text(settings.text, meta)), train=train, end=end
    )


def _prepare(settings: PretrainSettings) -> tuple[Path, dict[str, Any]]:
    from ray_jobs.remote_pool import cluster_pool
    from tempembed.stages.pretraining_text import prepared_text

    shards = prepared_text(settings, lambda line: print(line, flush=True), cluster_pool())
    return shards.folder, shards.meta
