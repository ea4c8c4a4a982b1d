"""Opens a sweep: prepares its data, refuses what it cannot measure, and opens its folder, anew or to resume."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from ray_jobs.capacity import Workers, check_capacity
from ray_jobs.prepared import PreparedData, prepare_in_subprocess
from ray_jobs.queue import is_unfinished, listed_trials, proposed_trials
from ray_jobs.resume import named_as_before, unlike
from ray_jobs.sweep import PLACES, Sweep
from tempembed.codecs.sets import sweep_specs
from tempembed.settings.config import FILE, write_config
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.study import Study


@dataclass(frozen=True, kw_only=True)
class OpenSweep:
    """A sweep that is ready to run."""

    sweep: Sweep
    ledger: Ledger
    """Its folder."""
    prepared: PreparedData
    id: str
    """The same for all attempts at it, for trackers."""
    goals: tuple[str, ...]
    """The goals that the test can measure."""
    listed: dict[str, TrainSettings]
    """Trials by name; empty where a study proposes them."""
    study: Study | None
    workers: Workers
    """The processes of a trial."""
    concurrent: int
    """Trials at a time."""
    is_resumed: bool

    @property
    def num_trials(self) -> int:
        """All trials, those of earlier attempts included."""
        return len(self.listed) or self.sweep.num_trials

    @property
    def num_ended(self) -> int:
        """Trials that came to an end of their own."""
        return sum(not is_unfinished(record) for record in self.ledger.records())

    @property
    def rung_steps(self) -> list[int]:
        """The steps at which early stopping judges a trial."""
        return self.sweep.rung_steps(self.prepared.num_steps)

    def new_trials(self) -> Iterator[dict[str, Any]]:
        """Configurations of the trials that no attempt has begun."""
        if self.study is None:
            return listed_trials(self.ledger, self.listed)
        return proposed_trials(self.ledger, self.study, self.sweep.num_trials, self.sweep.of_point)


def open_sweep(
    sweep: Sweep, ledger: Ledger, listed: dict[str, TrainSettings], *, is_listed: bool
) -> OpenSweep:
    """Prepare the data and open the folder.

    Args:
        sweep: as asked for.
        ledger: of its folder.
        listed: trials by name; none where a study proposes them.
        is_listed: the trials are not those that the settings name.

    Raises:
        UserError: no room for a trial, nothing to measure, a trial that cannot be, or a folder of another sweep.
    """
    if sweep.base.loss.tau == "auto":
        raise UserError(
            "--tau auto: expected temperatures, which a sweep searches for; name them in --objectives, or give --search"
        )
    there = None if sweep.fresh else ledger.settings()
    workers = processes_of(sweep)
    concurrent = check_capacity(workers)
    prepared = prepare_in_subprocess(next(iter(listed.values()), sweep.base))
    goals = _measurable(sweep, prepared)
    sweep_specs(prepared.width, sweep.budgets)  # a budget that no codec meets: now
    for each in listed.values():
        each.loss.resolved_terms(prepared.width)
    sweep.rung_steps(prepared.num_steps)  # too few steps: now
    identity = there["id"] if there else uuid4().hex
    explicit = {name: each.to_dict() for name, each in listed.items()} if is_listed else {}
    facts = prepared.facts
    is_resumed = ledger.open(
        {"id": identity, "settings": sweep.stored(), "data": facts.data, "encoder_content": facts.encoder,
         "test": prepared.test, "trials": explicit},
        unlike=partial(unlike, sweep=sweep, prepared=prepared, trials=listed), fresh=sweep.fresh,
    )  # fmt: skip
    if not is_listed:
        note = "python -m ray_jobs.tune --config run.yaml --output ... is this sweep again"
        write_config(ledger.folder / FILE, sweep, note, without=PLACES)
    if is_resumed and not is_listed:
        listed = named_as_before(listed, ledger.records(), facts)
    study = None
    if not listed:
        study = Study(
            ledger.folder / "study.db", num_goals=len(goals), families=sweep.families, width=prepared.width,
            sampler=sweep.search, seed=sweep.base.loop.seed,  # type: ignore[arg-type]
        )  # fmt: skip
    return OpenSweep(
        sweep=sweep, ledger=ledger, prepared=prepared, id=identity, goals=goals, listed=listed, study=study,
        workers=workers, concurrent=concurrent, is_resumed=is_resumed,
    )  # fmt: skip


def processes_of(sweep: Sweep) -> Workers:
    """The processes that train a trial. Train restarts none of them: the sweep takes lost trials up again at its end."""
    return Workers(
        num_workers=sweep.num_processes, cpus_per_worker=sweep.cpus_per_worker, use_gpu=sweep.use_gpu, max_failures=0
    )  # fmt: skip


def _measurable(sweep: Sweep, prepared: PreparedData) -> tuple[str, ...]:
    """The goals that the test can measure.

    Raises:
        UserError: none.
    """
    if not prepared.kinds:
        raise UserError(
            "a sweep compares by a test: expected --eval-data, or --hold-out above 0, got neither"
        )
    goals = tuple(goal for goal in sweep.goals if goal != "clustering" or goal in prepared.kinds)
    if goals != sweep.goals:
        print("--goals: clustering is left out, the test has no labels to compare clusters with", flush=True)
    if not goals:
        raise UserError(
            "--goals: expected one that the test can measure, got clustering and no labels; add retrieval"
        )
    return goals
