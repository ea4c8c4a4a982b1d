"""A sweep: which trials it has, how they are measured, and what makes it the same sweep as one that is there."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ray_jobs.capacity import check_cpus, check_least
from ray_jobs.prepared import PreparedData
from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.run.identity import differences
from tempembed.settings.flat import changed, flat, restored
from tempembed.settings.loss import LossSettings
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.system.errors import UserError
from tempembed.tracking.settings import TrackingSettings
from tempembed.tuning.goals import budget_of, check_goals
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.space import FAMILIES, Point, check_families

OBJECTIVES = (
    "infonce:0.03", "infonce:0.06", "infonce:0.1", "infonce:0.2", "infonce:0.4",
    "mrl:0.06", "tempagg", "tempaggmrl", "tempspecmrl",
)  # fmt: skip
PLACES = ("output", "resume", "fresh", "trackers", "mlflow_uri", "max_failures")
"""Fields of a sweep that say where it runs, not what it is."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train and measure a list of objectives, or search over objectives, on the same data in the same order."""

    base: TrainSettings = field(default_factory=lambda: TrainSettings.of(hold_out=0.1, batch_size=1024))
    search: Literal["grid", "tpe", "nsga2"] = "grid"
    """grid: --objectives x --seeds. tpe (multi-objective TPE) and nsga2 choose --num-trials objectives by what the earlier
    ones gave."""
    objectives: tuple[str, ...] = OBJECTIVES
    """grid: one trial for each, with the spellings of --objective."""
    seeds: tuple[int, ...] = (0,)
    """grid: one trial for each objective and seed."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """tpe, nsga2: what is searched. Temperatures from 0.02 to 0.5, one per width (tempspecmrl), sets of two to four
    (tempagg, tempaggmrl), weights of the widths, cosine schedules (schedule), learned, and beta (hard)."""
    num_trials: int = 20
    """tpe, nsga2: how many objectives are tried."""
    goals: tuple[str, ...] = ("retrieval", "clustering", "bytes-128")
    """What is maximised, all at once: retrieval and clustering of full embeddings, and bytes-N, retrieval by the best codec
    of N bytes a vector."""
    early_stop: bool = False
    """Stop weak trials early (ASHA), by a cheap measurement of the score at --stop-bytes in mid-training."""
    stop_bytes: int = 128
    """The budget that --early-stop judges by."""
    rungs: int = 2
    """How often --early-stop judges a trial; at shares 1/F, 1/F^2 ... of its steps."""
    reduction_factor: int = 3
    """F: of the trials that reach a rung, the best 1/F go on."""
    register: bool = True
    """Let the registry decide who takes its aliases; every trial is then measured at their budgets."""
    output: str = "results/sweep"
    """Folder for trials/, trials.json and report.html; its last part is the sweep's name."""
    resume: str | None = None
    """Go on with the sweep in this folder (or of this name in results/), with the settings that it has."""
    fresh: bool = False
    """Throw away what an earlier sweep left in --output."""
    num_workers: int = 2
    """Ray Train workers of a trial. 0, as in Ray Train: it trains in its own process, which takes one trial after the
    other, so that none waits for processes to start (with --early-stop, each has a new one)."""
    cpus_per_worker: float = 1
    """CPUs of a worker."""
    use_gpu: bool = False
    """One GPU for each worker."""
    max_failures: int = 2
    """How often a trial whose processes died is taken up again, from its newest checkpoint, when the others are done."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    def __post_init__(self) -> None:
        check_cpus(self.cpus_per_worker)
        check_goals(self.goals)
        check_families(self.families)
        check_least(
            self, num_trials=1, rungs=1, reduction_factor=2, stop_bytes=1, num_workers=0, max_failures=0
        )

    @property
    def num_processes(self) -> int:
        """That train a trial."""
        return max(1, self.num_workers)

    @property
    def budgets(self) -> list[int]:
        """Bytes per vector that every trial measures, descending."""
        wanted = [budget for goal in self.goals if (budget := budget_of(goal))]
        return sorted(
            {
                *(ALIAS_BUDGETS if self.register else ()),
                *wanted,
                *([self.stop_bytes] if self.early_stop else []),
            },
            reverse=True,
        )

    def stored(self) -> dict[str, Any]:
        """What its folder keeps of it."""
        return {name: value for name, value in flat(self).items() if name not in PLACES}

    def grid(self) -> dict[str, TrainSettings]:
        """The trials of a grid by name.

        Raises:
            UserError: two trials of the same name.
        """
        trials: dict[str, TrainSettings] = {}
        for objective in self.objectives:
            for seed in self.seeds:
                name = re.sub(r"[^a-z0-9.]+", "-", objective.lower()).strip("-") + f"-seed{seed}"
                if name in trials:
                    raise UserError(
                        f"--objectives, --seeds: expected each pair once, got {objective} {seed} twice"
                    )
                trials[name] = changed(self.base, objective=objective, terms=(), seed=seed)
        return trials

    def of_point(self, point: Point) -> TrainSettings:
        """The trial of a point of the search space."""
        return changed(self.base, terms=tuple(map(str, point.terms)), beta=point.beta)

    def rung_steps(self, num_steps: int) -> list[int]:
        """The steps at which --early-stop judges, ascending; none without it.

        Raises:
            UserError: a run too short for the rungs.
        """
        if not self.early_stop:
            return []
        first = num_steps // self.reduction_factor**self.rungs
        if first < 1:
            raise UserError(
                f"--early-stop: expected at least {self.reduction_factor**self.rungs} steps for --rungs {self.rungs} and "
                f"--reduction-factor {self.reduction_factor}, got {num_steps}; lower them, or train longer"
            )
        return [first * self.reduction_factor**i for i in range(self.rungs)]


def restored_sweep(stored: Mapping[str, Any]) -> Sweep:
    """What `Sweep.stored` gave, perhaps that of an earlier version of us: what is not there has its default.

    Raises:
        UserError: no settings of a sweep.
    """
    try:
        return restored(Sweep(), stored)
    except UserError as error:
        raise UserError(
            f"sweep.json: expected the settings of a sweep ({error}); restore the file"
        ) from error


def shared_identity(sweep: Sweep, facts: Facts | None = None) -> dict[str, Any]:
    """What all its trials share and how they are measured; without facts, what can be told before the data is read."""
    base = changed(sweep.base, objective=LossSettings.objective, terms=())  # each trial has its own
    found = settings_identity(base) if facts is None else run_identity(base, facts)
    for name in ("terms", "seed" if sweep.search == "grid" else "beta"):
        found.pop(name, None)
    found |= {"search": sweep.search, "goals": list(sweep.goals), "budgets": sweep.budgets}
    if sweep.search != "grid":
        found["families"] = list(sweep.families)
    names = ("stop_bytes", "rungs", "reduction_factor") if sweep.early_stop else ()
    return found | {name: getattr(sweep, name) for name in ("early_stop", *names)}


def unlike(
    there: Mapping[str, Any], sweep: Sweep, prepared: PreparedData, trials: Mapping[str, TrainSettings]
) -> str:
    """What makes it another sweep than the one that is there; empty where it may go on, perhaps with more trials.

    Args:
        there: `sweep.json`.
        sweep: as asked for.
        prepared: its data.
        trials: those that it lists, by name.
    """
    stored = restored_sweep(there["settings"])
    noted = {"fingerprint": there.get("data"), "encoder_content": there.get("encoder_content")}
    facts = prepared.facts.restored(noted, stored.base)
    before = shared_identity(stored, facts) | {"test": there.get("test", prepared.test)}
    found = [differences(before, shared_identity(sweep, prepared.facts) | {"test": prepared.test})]
    if sweep.search != "grid":
        if sweep.num_trials < stored.num_trials:
            found.append(f"num_trials: {stored.num_trials} there, {sweep.num_trials} here, it may only grow")
    elif not any(found):
        asked = {name: _key(each, prepared.facts) for name, each in trials.items()}
        if explicit := there.get("trials"):
            settings = {name: restored_settings(each) for name, each in explicit.items()}
            gone = [name for name, each in settings.items() if asked.get(name) != _key(each, facts)]
        else:
            gone = [name for name, each in stored.grid().items() if _key(each, facts) not in asked.values()]
        found += [f"trials: {', '.join(gone)} there, not here, others may be added"] if gone else []
    return "; ".join(filter(None, found))


def named_as_before(
    trials: Mapping[str, TrainSettings], records: Sequence[Mapping[str, Any]], facts: Facts
) -> dict[str, TrainSettings]:
    """The trials, each under the name that the same one has in the records: `tempagg` is `tempagg:0.03,0.06,0.1`."""
    known = {_key(restored_settings(record["settings"]), facts): record["name"] for record in records}
    return {known.get(_key(each, facts), name): each for name, each in trials.items()}


def _key(settings: TrainSettings, facts: Facts) -> str:
    return json.dumps(run_identity(settings, facts), sort_keys=True)


def folder_of(resume: str) -> Path:
    """The folder of the sweep that `--resume` names.

    Raises:
        UserError: it is not there.
    """
    places = [Path(resume).expanduser(), Path("results") / resume]
    folder = next((place for place in places if (place / Ledger.file).exists()), None)
    if folder is None:
        raise UserError(
            f"--resume {resume}: expected the folder of a sweep, or the name of one in results/, found no {Ledger.file} "
            f"in {' or '.join(map(str, places))}"
        )
    return folder.absolute()


def check_resumed(sweep: Sweep, stored: Sweep) -> None:
    """Raise UserError where flags beside `--resume` ask for another sweep, as far as can be told before the data is read."""
    before, now = shared_identity(stored), shared_identity(sweep)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed or sweep.fresh:
        flags = ", ".join("--" + name.replace("_", "-") for name in [*changed, *["fresh"] * sweep.fresh])
        raise UserError(
            f"--resume {sweep.resume}: expected no other settings than the sweep's own, got {flags}; leave them out, or start "
            "another sweep"
        )
