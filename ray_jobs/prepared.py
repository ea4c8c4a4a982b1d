"""What a driver asks of a run's data and models, each in a process of its own: reading them takes gigabytes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.isolate import in_subprocess
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, count_steps


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """What a driver needs to know of prepared data."""

    folder: Path
    meta: dict[str, Any]
    """`Prepared.meta`."""
    kinds: tuple[str, ...]
    """What the test can measure: retrieval, and clustering if it has labels; without a test, nothing."""
    width: int
    """Width of the encoder's embeddings before training."""
    num_steps: int
    """Optimiser steps of a run."""
    facts: Facts
    """What the data and the encoder are, by content."""
    test: str
    """Fingerprint of the test; empty without one."""


def prepare_in_subprocess(settings: TrainSettings) -> PreparedData:
    """Prepare the data of a run.

    Raises:
        UserError: bad data, or an objective that does not fit the encoder.
        InfrastructureError: the process died.
    """
    return in_subprocess(_prepare, settings)


def _prepare(settings: TrainSettings) -> PreparedData:
    from tempembed.evaluation.trained import kinds_of_runs
    from tempembed.stages.prepare import prepare_with_encoder
    from tempembed.tuning.goals import check_goals
    from tempembed.tuning.selection import check_goal
    from tempembed.tuning.temperature import check_tau

    if settings.loop.goal:
        check_goals([settings.loop.goal], "--goal")  # before the work
    prepared, encoder = prepare_with_encoder(settings, lambda line: print(line, flush=True))
    for line in check_goal(settings, prepared):
        print(line, flush=True)
    check_tau(settings, encoder.width)
    test = prepared.evaluation()
    facts = Facts.of(prepared, settings, encoder)
    return PreparedData(
        folder=prepared.folder,
        meta=prepared.meta,
        kinds=tuple(task.kind for task in test[0].tasks(kinds_of_runs())) if test else (),
        width=facts.width,
        num_steps=count_steps(settings, facts),
        facts=facts,
        test=prepared.meta["test"],
    )


def with_tau_in_subprocess(
    settings: TrainSettings, prepared: Path, file: Path, *, use_gpu: bool
) -> TrainSettings:
    """The settings with the temperature that `--tau auto` chooses, by short runs side by side on the cluster.

    Args:
        settings: of the run.
        prepared: folder of its data.
        file: takes what was tried.
        use_gpu: a GPU for each short run.
    """
    if settings.loss.tau != "auto":
        return settings
    return in_subprocess(_with_tau, settings, prepared, file, use_gpu)


def _with_tau(settings: TrainSettings, prepared: Path, file: Path, use_gpu: bool) -> TrainSettings:
    from ray_jobs.connect import connect
    from ray_jobs.remote_pool import RemotePool
    from tempembed.stages.prepared import Prepared
    from tempembed.tuning.temperature import with_chosen_temperature

    connect()
    return with_chosen_temperature(
        settings, Prepared(folder=prepared), file, partial(print, flush=True), device=None if use_gpu else "cpu",
        over=RemotePool(use_gpu=use_gpu),
    )  # fmt: skip


def save_codecs_in_subprocess(prepared: Path, output: Path, specs: dict[str, str]) -> None:
    """Fit codecs of the model in `output` on the test documents, and save them beside it.

    Args:
        prepared: folder of the prepared data.
        output: folder of the model.
        specs: specifications of codecs by the name that each is saved under.
    """
    in_subprocess(_save_codecs, prepared, output, specs)


def _save_codecs(prepared: Path, output: Path, specs: dict[str, str]) -> None:
    from tempembed.evaluation.trained import save_codecs
    from tempembed.stages.prepared import Prepared

    test = Prepared(folder=prepared).evaluation()
    assert test is not None
    save_codecs(output, test, specs)
