"""Sweep objectives and temperatures: each trial is a Ray Train run, tracked in MLflow and compared in a report.

ray job submit -- python -m ray_jobs.tune --output results/sweep --objectives infonce:0.06 tempaggmrl
"""

import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import tyro
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from ray_jobs.run import PreparedData, check_batch, check_capacity, fit, prepare_apart
from tempembed.cli import progress_line, run
from tempembed.errors import UserError
from tempembed.objective import Terms
from tempembed.report.html import write_html
from tempembed.report.table import result_table
from tempembed.settings import TrainSettings
from tempembed.tracking.mlflow import MlflowRun, start_run
from tempembed.tracking.points import evaluation_points, temperature_points

OBJECTIVES = (
    "infonce:0.03", "infonce:0.06", "infonce:0.1", "infonce:0.2", "infonce:0.4",
    "mrl:0.06", "tempagg", "tempaggmrl", "tempspecmrl",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sweep(TrainSettings):
    """Train and measure every objective with every seed, on the same data in the same order."""

    hold_out: float = 0.1
    """Without --eval-data: share of --data that is kept from training as the test; shares no text with the rest."""
    batch_size: int = 1024
    """Global batch: pairs per step over all workers. Every other document in it is a negative."""
    objectives: tuple[str, ...] = OBJECTIVES
    """One trial for each, with the spellings of --objective."""
    seeds: tuple[int, ...] = (0,)
    """One trial for each objective and seed."""
    output: str = "results/sweep"
    """Folder for trials/, trials.json and report.html; trials of an earlier sweep in it are replaced."""
    num_workers: int = 2
    """Ray Train workers of a trial."""
    cpus_per_worker: float = 1
    """CPUs of a worker."""
    use_gpu: bool = False
    """One GPU for each worker."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI, or mlflow.db in --output."""
    experiment: str = "tempembed"
    """MLflow experiment."""
    model_name: str = "tempembed"
    """Registered model that takes every trial's model as a version."""

    def trial_settings(self) -> dict[str, TrainSettings]:
        """The trials by name.

        Raises:
            UserError: two trials of the same name.
        """
        names = [field.name for field in dataclasses.fields(TrainSettings)]
        base = TrainSettings(**{name: getattr(self, name) for name in names})
        trials: dict[str, TrainSettings] = {}
        for objective in self.objectives:
            for seed in self.seeds:
                name = re.sub(r"[^a-z0-9.]+", "-", objective.lower()).strip("-") + f"-seed{seed}"
                if name in trials:
                    raise UserError(
                        f"--objectives, --seeds: expected each pair once, got {objective} {seed} twice"
                    )
                trials[name] = dataclasses.replace(base, objective=objective, terms=(), seed=seed)
        return trials


def trial(
    config: dict[str, Any],
    *,
    settings: dict[str, dict[str, Any]],
    prepared: str,
    output: str,
    sizes: dict[str, Any],
) -> None:
    """One trial, in its own process on the head node: drives a Ray Train run and leaves its files behind."""
    folder = Path(output) / "trials" / config["name"]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fit(
            TrainSettings.from_dict(settings[config["name"]]),
            prepared=Path(prepared),
            output=folder,
            callbacks=[TuneReportCallback()],
            **sizes,
        )
    except UserError as error:
        (folder / "error.txt").write_text(str(error))
        raise


class Board(tune.Callback):
    """Follows the trials: prints progress, feeds MLflow, collects the results. Lives in the sweep's driver."""

    def __init__(
        self,
        parent: MlflowRun,
        output: Path,
        settings: dict[str, TrainSettings],
        terms: dict[str, Terms],
        model_name: str,
    ) -> None:
        self._parent, self._output, self._settings = parent, output, settings
        self._terms, self._model_name = terms, model_name
        self._open: dict[str, MlflowRun] = {}
        self._started: dict[str, float] = {}
        self._seconds: list[float] = []
        self.results: dict[str, dict[str, Any]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process starts."""
        name = trial.config["name"]
        self._started[name] = time.monotonic()
        run = self._parent.child(name, self._settings[name].to_dict(), {"tempembed.trial": name})
        run.points(temperature_points(self._terms[name]))
        self._open[name] = run
        self._say(name, "starting workers")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict, **info: Any
    ) -> None:
        """A report of rank 0."""
        name = trial.config["name"]
        if "num_steps" not in result:
            return
        self._open[name].log(result)
        share = result["step"] / result["num_steps"]
        left = len(self._settings) - len(self.results)
        elapsed = time.monotonic() - self._started[name]
        each = sum(self._seconds) / len(self._seconds) if self._seconds else elapsed / share
        self._say(
            name, f"{progress_line(result)} of the trial, {max(0, left * each - elapsed):.0f} s of the sweep"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended well: its report and its model go to MLflow."""
        name = trial.config["name"]
        folder, run = self._folder(name), self._open[name]
        report = json.loads((folder / "evaluation.json").read_text())
        run.points(evaluation_points(report))
        run.file(folder / "evaluation.json")
        tags = {"objective": self._settings[name].objective, "seed": str(self._settings[name].seed)}
        version = run.register(folder, self._model_name, tags)
        seconds = time.monotonic() - self._started[name]
        self._seconds.append(seconds)
        self._finish(name, "FINISHED", {**report, "seconds": seconds, "model_version": version})
        full = {
            row["metric"]: row["score"]
            for row in report["scores"]
            if row["codec"] == "float32" and row["retention"] == 1.0
        }
        scores = "  ".join(f"{metric} {score:.4f}" for metric, score in full.items())
        self._say(name, f"done in {seconds:.0f} s: {scores}  PCA-95 {report['geometry']['pca95']}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed: the others go on."""
        name = trial.config["name"]
        path = self._folder(name) / "error.txt"
        error = path.read_text() if path.exists() else "its process died; see the Ray dashboard"
        if name in self._open:
            self._open[name].tag("tempembed.error", error[:4000])
        self._finish(name, "FAILED", {"error": error})
        self._say(name, f"FAILED: {error}")

    def kill(self) -> None:
        """Mark what is still running as KILLED."""
        for name in list(self._open):
            self._finish(name, "KILLED", {"error": "killed"})

    def _finish(self, name: str, status: str, result: dict[str, Any]) -> None:
        settings = self._settings[name]
        run = self._open.pop(name, None)
        if run:
            run.finish(status)
        self.results[name] = {
            "name": name,
            "status": status,
            "objective": settings.objective,
            "terms": [dataclasses.asdict(term) for term in self._terms[name]],
            "seed": settings.seed,
            "mlflow_run_id": run.run_id if run else None,
            **result,
        }

    def _folder(self, name: str) -> Path:
        return self._output / "trials" / name

    def _say(self, name: str, line: str) -> None:
        number = list(self._settings).index(name) + 1
        print(f"[trial {number}/{len(self._settings)} {name}] {line}", flush=True)


def main() -> None:
    """Entry point."""
    sweep = tyro.cli(Sweep, description=__doc__)
    settings = sweep.trial_settings()
    first = next(iter(settings.values()))
    for each in settings.values():
        check_batch(each, sweep.num_workers)
    output = Path(sweep.output).absolute()
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # the board says what matters
    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    concurrent = check_capacity(sweep.num_workers, sweep.cpus_per_worker, sweep.use_gpu)
    prepared = prepare_apart(first)
    if not prepared.has_test:
        raise UserError(
            "a sweep compares by a test: expected --eval-data, or --hold-out above 0, got neither"
        )
    terms = {name: each.resolved_terms(prepared.width) for name, each in settings.items()}
    for old in ("trials", ".tune"):
        shutil.rmtree(output / old, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    uri = sweep.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output / 'mlflow.db'}"
    params = {"data": sweep.data, "num_trials": len(settings), "num_workers": sweep.num_workers}
    parent = start_run(uri, sweep.experiment, f"sweep {output.name}", params)
    board = Board(parent, output, settings, terms, sweep.model_name)

    def stopped(number: int, frame: FrameType | None) -> None:
        board.kill()
        parent.finish("KILLED")
        os._exit(128 + number)  # Tune would catch anything that is raised here, and go on

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)
    print(f"{len(settings)} trials on {prepared.meta['num_pairs']} pairs, {concurrent} at a time", flush=True)
    status = "FAILED"
    try:
        _tune(sweep, settings, prepared, output, board, concurrent)
        results = [board.results[name] for name in settings if name in board.results]
        (output / "trials.json").write_text(json.dumps(results, indent=1))
        done = [r for r in results if r["status"] == "FINISHED" and r.get("scores")]
        if done:
            write_html(results, prepared.meta, output / "report.html")
            parent.file(output / "report.html")
            parent.file(output / "trials.json")
            print(result_table(done))
            print(f"report: {output / 'report.html'}", flush=True)
        failed = [r for r in results if r["status"] != "FINISHED"]
        for result in failed:
            print(f"failed: {result['name']}: {result['error']}", flush=True)
        if not done:
            raise UserError("expected at least one trial to finish, got none; the reasons stand above")
        status = "FINISHED"
    finally:
        board.kill()
        parent.finish(status)


def _tune(
    sweep: Sweep,
    settings: dict[str, TrainSettings],
    prepared: PreparedData,
    output: Path,
    board: Board,
    concurrent: int,
) -> None:
    trainable = tune.with_parameters(
        trial,
        settings={name: each.to_dict() for name, each in settings.items()},
        prepared=str(prepared.folder),
        output=str(output),
        sizes={
            "num_workers": sweep.num_workers,
            "cpus_per_worker": sweep.cpus_per_worker,
            "use_gpu": sweep.use_gpu,
        },
    )
    # The trial's own process only waits for its workers. It must hold no CPU that they need (ray_mlflow.md 1.6),
    # so it takes a sliver of the resource that every head node has.
    resources = tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"name": tune.grid_search(list(settings))},
        tune_config=tune.TuneConfig(max_concurrent_trials=concurrent),
        run_config=tune.RunConfig(name=".tune", storage_path=str(output), callbacks=[board], verbose=0),
    ).fit()


if __name__ == "__main__":
    run(main)
