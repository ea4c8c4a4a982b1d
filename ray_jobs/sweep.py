"""The settings of a sweep: which trials it has, and how they are measured."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ray_jobs.capacity import check_cpus, check_least
from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.settings.config import Configured
from tempembed.settings.flat import changed, flat
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tracking.settings import TrackingSettings
from tempembed.tuning.goals import budget_of, check_goals
from tempembed.tuning.space import FAMILIES, Point, check_families

OBJECTIVES = (
    "infonce:0.03", "infonce:0.06", "infonce:0.1", "infonce:0.2", "infonce:0.4",
    "mrl:0.06", "tempagg", "tempaggmrl", "tempspecmrl",
)  # fmt: skip
PLACES = ("output", "resume", "fresh", "trackers", "mlflow_uri", "max_failures", "config")
"""Fields of a sweep that say where it runs, not what it is."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Configured):
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
    (tempagg, tempaggmrl), weights of the widths, cosine schedules (schedule), learned, and beta (hard); what an index of bits
    shows (tempaggmrl-sign, tempspecbits), with temperatures of signs from 0.02 to 0.06."""
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
    """F: of the trials that reach a rung, the best 1/F continue."""
    register: bool = True
    """Let the registry decide who takes its aliases; every trial is then measured at their budgets."""
    output: str = "results/sweep"
    """Folder for trials/, trials.json and report.html; its last part is the sweep's name."""
    resume: str | None = None
    """Resume the sweep in this folder (or of this name in results/), with the settings that it has."""
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
    """How often a trial whose processes died is resumed, from its newest checkpoint, when the others are done."""
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
        """Processes that train a trial."""
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
