"""What Tune trains next: first what an earlier attempt left unfinished, then new trials."""

from collections.abc import Callable, Iterator
from typing import Any

from ray.tune.search import Searcher

from ray_jobs.worker import STOP
from tempembed.settings.flat import restored
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import RESUMABLE_SETTINGS
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.study import Study


class Queue(Searcher):
    """Hands out trials by name. All state is in the ledger and the study, so Tune's own snapshots hold none."""

    def __init__(self, trials: Iterator[dict[str, Any]], closed: Callable[[], bool]) -> None:
        super().__init__()
        self._trials, self._closed = trials, closed

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next trial; none once the queue is closed."""
        return Searcher.FINISHED if self._closed() else next(self._trials, Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing to do: the board tells the study."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_trials", "_closed")}


def is_unfinished(record: dict[str, Any]) -> bool:
    """Whether a trial has not come to an end of its own: its sweep was, or its processes were, ended."""
    return record["status"] == "RUNNING" or (record["status"] == "FAILED" and record.get("lost", False))


def unfinished_trials(ledger: Ledger, base: TrainSettings) -> Iterator[dict[str, Any]]:
    """Trials that were begun and did not come to an end of their own; they resume from their newest checkpoints.

    Args:
        ledger: the sweep's.
        base: settings of the sweep as it is asked for now: what may change in a resumed run is taken from it, such as where
            its data is.
    """
    names = ("encoder", *(name for group in RESUMABLE_SETTINGS.values() for name in group))
    now = {name: value for name, value in base.to_dict().items() if name in names}
    for record in filter(is_unfinished, ledger.records()):
        restored(base, record["settings"], base)  # no code that only the folder names is imported
        (ledger.trial_folder(record["name"]) / STOP).unlink(missing_ok=True)
        yield {"name": record["name"], "settings": {**record["settings"], **now}, "resume": True}


def listed_trials(ledger: Ledger, settings: dict[str, TrainSettings]) -> Iterator[dict[str, Any]]:
    """The trials of a list that the ledger does not have."""
    known = {record["name"] for record in ledger.records()}
    for number, (name, each) in enumerate(settings.items()):
        if name not in known:
            ledger.record(name, number=number, status="RUNNING", settings=each.to_dict())
            yield {"name": name, "settings": each.to_dict(), "resume": False}


def proposed_trials(
    ledger: Ledger, study: Study, num_trials: int, build: Callable[[Any], TrainSettings]
) -> Iterator[dict[str, Any]]:
    """New trials that a study proposes, until there are `num_trials` in all.

    A trial that was proposed and whose record was not yet written when the driver died counts as failed, and another takes
    its place.
    """
    known = {record["number"] for record in ledger.records()}
    for number in range(study.num_asked):
        if number not in known:
            study.tell(number, "failed")
    while len(ledger.records()) < num_trials:
        number, point = study.ask()
        settings, name = build(point), f"{number:04d}-{point.family}"
        ledger.record(name, number=number, status="RUNNING", settings=settings.to_dict(), family=point.family)
        yield {"name": name, "settings": settings.to_dict(), "resume": False}
