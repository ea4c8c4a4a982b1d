"""Follows the trials of a sweep, in its driver: prints progress, tells trackers, keeps the ledger."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray import tune

from ray_jobs.metrics import Sample, evaluation_samples, export
from ray_jobs.queue import is_unfinished
from ray_jobs.trial import ERROR, LOST
from ray_jobs.worker import NOTES, STOP
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.settings.train import TrainSettings
from tempembed.system.console import progress_line
from tempembed.system.disk import full_disk
from tempembed.system.errors import InfrastructureError
from tempembed.tracking.points import (
    cost_points,
    evaluation_points,
    model_facts,
    summary_points,
    temperature_points,
)
from tempembed.tracking.spool import SpooledRun
from tempembed.tracking.tracker import TrackedDataset
from tempembed.tuning.goals import goal_values
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.study import Study


class Board(tune.Callback):
    """Tune calls it at each event of a trial."""

    def __init__(
        self,
        parent: SpooledRun,
        ledger: Ledger,
        *,
        num_trials: int,
        at_once: int,
        width: int,
        goals: Sequence[str],
        study: Study | None,
        datasets: Sequence[TrackedDataset] = (),
    ) -> None:
        self._parent, self._ledger, self._num_trials, self._width = parent, ledger, num_trials, width
        self._goals, self._study, self._at_once, self._datasets = goals, study, at_once, datasets
        self._open: dict[str, SpooledRun] = {}
        self._reasons: dict[str, str] = {}
        """By trial, why its end could not be written down."""
        self._since: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        """The newest step of an open trial."""
        self._seconds: list[float] = []
        self.is_leaving = False
        """Whether the sweep is asked to stop: trials then stop with a checkpoint, and stay unfinished."""
        records = ledger.records()
        self._places = {record["name"]: i for i, record in enumerate(records, 1)}
        self._outcomes = Counter(record["status"] for record in records if not is_unfinished(record))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks; what this one knows is in the ledger."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process starts, for the first time or again."""
        name, settings = trial.config["name"], TrainSettings.from_dict(trial.config["settings"])
        self._since[name] = time.monotonic()
        self._reasons.pop(name, None)
        run = self._parent.child(
            name,
            settings.to_dict(),
            {"tempembed.trial": name, "tempembed.objective": settings.loss.objective_name},
        )
        run.points(temperature_points(settings.loss.resolved_terms(self._width)))
        run.datasets(self._datasets)
        self._open[name], self._steps[name] = run, 0
        if self.is_leaving:
            self._ask_to_stop(name)
        self._export_progress()
        self._say(name, "going on" if trial.config["resume"] else "starting")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict, **info: Any
    ) -> None:
        """A report of rank 0."""
        name = trial.config["name"]
        if "num_steps" not in result or name not in self._open:
            return
        for note in result.get(NOTES) or ():
            self._say(name, note)
        self._steps[name] = result["step"]
        self._say(
            name,
            f"{progress_line(result)} of the trial, {self._seconds_left(name, result):.0f} s of the sweep",
        )

    def _seconds_left(self, name: str, result: dict) -> float:
        """Seconds that the sweep still takes, by the mean of the trials that ended; by this one's pace before any has."""
        passed = {
            trial: time.monotonic() - since for trial, since in self._since.items() if trial in self._open
        }
        each = passed[name] * result["num_steps"] / result["step"]
        if self._seconds:
            each = sum(self._seconds) / len(self._seconds)
        left = self._num_trials - self._outcomes.total()
        return max(0.0, left * each - sum(passed.values())) / min(self._at_once, max(1, left))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended well, or was stopped early: then it has no report."""
        name = trial.config["name"]
        path = self._ledger.trial_folder(name) / REPORT
        seconds = time.monotonic() - self._since.get(name, time.monotonic())
        if not path.exists():
            step = self._steps[name]
            if self.is_leaving:
                self._open.pop(name).finish("KILLED")
                self._say(name, f"stopped after step {step} with a checkpoint; it is not finished")
                return
            self._seconds.append(seconds)
            self._end(name, "STOPPED", "stopped", stopped_at=step, seconds=seconds)
            self._say(name, f"stopped early after step {step}, {seconds:.0f} s")
            return
        self._seconds.append(seconds)
        report = read_report(path)
        values = goal_values(report, self._goals)
        cost = dict(report.cost or {})
        cost["overhead_seconds"] = seconds - cost["train_seconds"] - cost["evaluation_seconds"]
        run = self._open[name]
        run.points(evaluation_points(report) + cost_points(cost | {"seconds": seconds}))
        settings = TrainSettings.from_dict(trial.config["settings"])
        run.model(model_facts(settings), summary_points(report))
        for file in (path, path.with_suffix(".replicates.safetensors"), path.parent / "settings.json"):
            run.file(file)
        goals = dict(zip(self._goals, values, strict=True))
        self._end(name, "FINISHED", "finished", values, goals=goals, seconds=seconds, cost=cost)
        export(evaluation_samples(report), run=name, sweep=self._ledger.folder.name)
        shutil.rmtree(path.parent / "checkpoints", ignore_errors=True)
        scores = "  ".join(f"{goal} {value:.4f}" for goal, value in goals.items())
        self._say(name, f"done in {seconds:.0f} s: {scores}  PCA-95 {report.geometry.get('pca95')}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed: the others continue. One whose processes died is unfinished, and trained again at the end."""
        name = trial.config["name"]
        path = self._ledger.trial_folder(name) / ERROR
        error = path.read_text() if path.exists() else ""
        if not error or name in self._reasons:
            self._lose(name)
            return
        if name in self._open:
            self._open[name].tag("tempembed.error", error[:4000])
        self._end(name, "FAILED", "failed", error=error)
        self._say(name, f"FAILED: {error}")

    def _lose(self, name: str) -> None:
        """Infrastructure failed under a trial; retrying may succeed."""
        if run := self._open.pop(name, None):
            run.finish("KILLED" if self.is_leaving else "FAILED")
        self._say(name, f"{self._why_lost(name)}; it is not finished")
        self._export_progress()

    def _why_lost(self, name: str) -> str:
        path = self._ledger.trial_folder(name) / LOST
        said = path.read_text() if path.exists() else ""  # empty: it met a full disk too
        died = InfrastructureError("its processes died; the Ray dashboard has their logs")
        return said or self._reasons.get(name) or str(full_disk(died, (self._ledger.folder,)) or died)

    def give_up(self) -> None:
        """Mark trials that lost their processes in every attempt as failed; the same command tries them once more."""
        for record in filter(is_unfinished, self._ledger.records()):
            name, error = record["name"], self._why_lost(record["name"])
            self._ledger.record(name, status="FAILED", lost=True, error=error)
            self._outcomes["FAILED"] += 1
            self._say(name, f"FAILED: {error}; run the same command again to resume it")

    def ask_to_leave(self) -> None:
        """Ask trials to stop at their next report, with a checkpoint. Trackers are told now: there may be no time later."""
        self.is_leaving = True
        for name, run in self._open.items():
            self._ask_to_stop(name)
            run.finish("KILLED")

    def _ask_to_stop(self, name: str) -> None:
        (self._ledger.trial_folder(name) / STOP).touch()

    def leave(self) -> None:
        """Mark what is still running as KILLED in trackers; in the ledger it stays unfinished, so that the sweep can be resumed."""
        for run in self._open.values():
            run.finish("KILLED")
        self._open.clear()

    def _end(
        self, name: str, status: str, outcome: Any, values: Sequence[float] | None = None, **facts: Any
    ) -> None:
        # the ledger is told last: whoever is killed before that does all of this again
        record = self._ledger.known(name)
        try:
            if run := self._open.get(name):
                run.tag("tempembed.outcome", status)
                run.finish("FAILED" if status == "FAILED" else "FINISHED")
            if self._study and "family" in record:
                self._study.tell(record["number"], outcome, values)
            self._ledger.record(name, status=status, **({"lost": False} if "lost" in record else {}), **facts)
        except Exception as error:  # Tune goes on, and tells on_trial_error
            self._reasons[name] = f"its end could not be written down ({type(error).__name__}: {error})"
            raise
        self._open.pop(name, None)
        self._outcomes[status] += 1
        self._export_progress()

    def _export_progress(self) -> None:
        left = self._num_trials - self._outcomes.total() - len(self._open)
        counts = {"FINISHED": 0, "STOPPED": 0, "FAILED": 0, **self._outcomes}
        counts |= {"RUNNING": len(self._open), "WAITING": left}
        found = [Sample("trials", count, {"status": status.lower()}) for status, count in counts.items()]
        export(found, sweep=self._ledger.folder.name)

    def _say(self, name: str, line: str) -> None:
        place = self._places.setdefault(name, len(self._places) + 1)
        print(f"[trial {place}/{self._num_trials} {name}] {line}", flush=True)
