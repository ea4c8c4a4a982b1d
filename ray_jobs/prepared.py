"""What a driver asks of a run's data and models, each in a process of its own: reading them takes gigabytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_jobs.isolate import in_subprocess
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, count_steps
from tempembed.system.errors import UserError


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

    if settings.loss.tau == "auto":
        raise UserError(
            "--tau auto: expected temperatures in --objective, for tempembed train alone chooses one; let it, and give its terms here, or "
            "search with ray_jobs.tune"
        )
    if settings.loop.goal:
        check_goals([settings.loop.goal], "--goal")  # before the work
    prepared, encoder = prepare_with_encoder(settings, lambda line: print(line, flush=True))
    for line in check_goal(settings, prepared):
        print(line, flush=True)
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
