"""A trial of a sweep, as a row of trials.json: its objective, how it ended, and what was measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tempembed.evaluation.report import Amount, Count, Number, Report, report_of
from tempembed.objectives.term import Term, View
from tempembed.system.typed import typed
from tempembed.tuning.pareto import pareto_ranks


@dataclass(frozen=True, kw_only=True)
class TrialTerm:
    """A term of a trial's objective."""

    dim: Count
    temperature: Number
    """Its first value, where it moves."""
    weight: Number
    course: str | None = None
    """How the temperature moves, as text."""
    view: View = "float"
    """What of the prefix is compared."""

    @staticmethod
    def of(term: Term) -> "TrialTerm":
        """A term as trials.json has it."""
        course = None if term.course is None else str(term.course)
        return TrialTerm(
            dim=term.dim, temperature=term.temperature, weight=term.weight, course=course, view=term.view
        )

    @property
    def schedule(self) -> str:
        """The temperature, or how it moves, and the view of signs, as text."""
        return (self.course or f"{self.temperature:g}") + ("" if self.view == "float" else f":{self.view}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial; a field that is None does not apply and is left out of the file."""

    name: str
    status: str
    """FINISHED, STOPPED early, FAILED, or RUNNING: unfinished."""
    objective: str
    """The objective's name: infonce:0.06, tempaggmrl."""
    terms: tuple[TrialTerm, ...]
    """The objective."""
    seed: int = 0
    beta: Number = 0.0
    encoder: str = ""
    number: int | None = None
    family: str | None = None
    """Family of objectives, if a study proposed the trial."""
    mlflow_run_id: str | None = None
    goals: Mapping[str, Number] | None = None
    """What a finished trial reached."""
    pareto_rank: int | None = None
    seconds: Number | None = None
    cost: Mapping[str, Amount] | None = None
    """Seconds, bytes and throughput of a finished trial: its training, its measurement and the overhead."""
    stopped_at: int | None = None
    """The last step of a trial that was stopped early."""
    error: str | None = None
    lost: bool | None = None
    """Whether it failed by a failure of the infrastructure: the same command tries it again."""
    report: Report | None = None
    """The report of a finished trial. In the file its members stand beside the trial's."""

    @property
    def is_finished(self) -> bool:
        """Whether it was trained and measured to its end."""
        return self.status == "FINISHED"

    @property
    def measured(self) -> Report:
        """The report of a finished trial.

        Raises:
            ValueError: there is none.
        """
        if self.report is None:
            raise ValueError(f"trial {self.name}: expected a report, it ended with status {self.status}")
        return self.report

    def to_json(self) -> dict[str, Any]:
        """A row of trials.json."""
        facts = {
            name: value for name, value in asdict(replace(self, report=None)).items() if value is not None
        }
        return {**(self.report.to_json() if self.report else {}), **facts}


_FACTS = tuple(field.name for field in fields(Trial) if field.name != "report")


def trial_of(value: Any) -> Trial:
    """A trial from a row of trials.json, or from a record of the ledger.

    Raises:
        ValueError: not a trial; names the first member that is not as it should be.
    """
    facts = {name: value[name] for name in _FACTS if name in value} if isinstance(value, dict) else value
    trial = typed(Trial, facts)
    return replace(trial, report=report_of(value)) if "scores" in value else trial


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, those that finished with their ranks (`pareto_ranks`)."""
    finished = [trial for trial in trials if trial.is_finished]
    ranks = pareto_ranks([list((trial.goals or {}).values()) for trial in finished])
    by_name = {trial.name: rank for trial, rank in zip(finished, ranks, strict=True)}
    return [replace(trial, pareto_rank=by_name.get(trial.name)) for trial in trials]
