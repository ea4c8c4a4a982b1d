"""An Optuna study in a file: what was asked and told outlives the process, so that a sweep can go on."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import TrialState

from tempembed.tuning.space import Point, propose

Sampler = Literal["tpe", "nsga2"]
Outcome = Literal["finished", "stopped", "failed"]
_STATES = {"stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class Study:
    """Proposes objectives towards several goals at once, all of them maximised."""

    def __init__(
        self, path: Path, *, num_goals: int, families: Sequence[str], width: int, sampler: Sampler, seed: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = f"sqlite:///{path}"
        self._families, self._width = families, width
        self._study = optuna.create_study(
            study_name="sweep", storage=storage, directions=["maximize"] * num_goals, load_if_exists=True
        )
        # a sampler that starts anew after a resume must not draw the first numbers again
        self._study.sampler = _sampler(sampler, seed + 7919 * len(self._study.trials))

    def ask(self) -> tuple[int, Point]:
        """The number of a new trial, and its point."""
        trial = self._study.ask()
        return trial.number, propose(trial, self._families, self._width)

    def tell(self, number: int, outcome: Outcome, values: Sequence[float] | None = None) -> None:
        """How a trial ended; with a value for each goal if it finished. Told twice, the first counts."""
        state = None if outcome == "finished" else _STATES[outcome]
        self._study.tell(
            number, values if outcome == "finished" else None, state=state, skip_if_finished=True
        )

    @property
    def num_asked(self) -> int:
        """Trials so far."""
        return len(self._study.trials)


def _sampler(name: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # multivariate and grouped: the parameters of a family are learned together; the liar keeps parallel trials apart
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10
        )
