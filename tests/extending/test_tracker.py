"""docs/extending/tracker.md, done: a tracker from outside the package, told of real runs."""

import json
from pathlib import Path

import pytest

from ray_jobs.fit import fit_here
from ray_jobs.train_work import TrainAssignment
from tempembed.commands.train import Train, train_command
from tempembed.run.folder import SPOOL
from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tracking.delivery import delivery
from tempembed.tracking.jsonl import read_jsonl
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import Spool
from tempembed.tracking.tracker import (
    TRACKERS,
    TrackedRun,
    Tracker,
    UnreachableError,
    find_tracker,
    register_tracker,
)


class Notebook(Tracker):
    """Writes what it is told into a file of its own; is away when it is asked for the first time."""

    def __init__(self, run):
        self.path, self.name, self.tries = run.folder / "notebook.txt", run.name, 0

    def write(self, *words):
        self.tries += 1
        if self.tries == 1:
            raise UnreachableError("not yet")
        with self.path.open("a") as file:
            print(*words, file=file)

    def start(self, run, settings, tags):
        self.write("start", run or self.name, settings.get("seed"))

    def log(self, run, metrics, milliseconds=None):
        self.write("log", run or self.name, metrics["step"], metrics["train/loss"])

    def points(self, run, points, milliseconds=None):
        self.write("points", run or self.name, *sorted({key for key, _, _ in points}))

    def file(self, run, path):
        self.write("file", run or self.name, path)

    def finish(self, run, status):
        self.write("finish", run or self.name, status)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr("tempembed.tracking.tracker.TRACKERS", dict(TRACKERS))
    register_tracker("notebook", Notebook)


def told(folder):
    return [line.split() for line in (folder / "notebook.txt").read_text().splitlines()]


def settings(data_dir):
    data = {"data": str(data_dir / "train.parquet"), "eval_data": str(data_dir / "test.parquet")}
    return TrainSettings.of(**data, width=32, vocabulary=400, batch_size=32, steps=20, log_every=5)


def test_a_run_of_the_command_line(registered, data_dir, tmp_path, monkeypatch):
    """Each step once, although the run was stopped and resumed."""
    monkeypatch.chdir(tmp_path)
    output = Path("run")
    command = Train(
        train=settings(data_dir), tracking=TrackingSettings(trackers=("notebook",)), output=str(output)
    )
    train_command(changed(command, stop_after=12, checkpoint_every=6))
    train_command(changed(command, resume=True, checkpoint_every=6))
    found = told(output)
    assert found[0] == ["start", "run", "0"]
    steps = [row["step"] for row in read_jsonl(output / "metrics.jsonl")]
    assert [int(words[2]) for words in found if words[0] == "log"] == steps
    assert {5, 10, 20} <= set(steps)
    assert ["finish", "run", "KILLED"] in found
    (points,) = (words for words in found if words[0] == "points")
    assert "retention/ndcg_at_10/float32" in points
    assert found[-2:] == [
        ["file", "run", str(tmp_path / "run" / "evaluation.json")],
        ["finish", "run", "FINISHED"],
    ]


def test_a_run_of_a_worker_below_a_sweep(registered, data_dir, tmp_path):
    """What a trial with --num-workers 0 does, and what the sweep's driver does meanwhile."""
    trial = settings(data_dir)
    output, spool = tmp_path / "trials" / "one", Spool(tmp_path / SPOOL)
    sweep = TrackedRun(name="sweep", folder=tmp_path, settings={}, identity="id")
    reports = []
    with delivery(spool, sweep, ["notebook"]):
        spool.run().start()
        run = spool.run().child("one", trial.to_dict(), {})
        assignment = TrainAssignment(
            settings=trial, prepared=prepare(trial).folder, output=output, spool=spool.path, run="one"
        )
        fit_here(assignment, tell=reports.append)
        run.finish()
        spool.run().finish()
    assert [report["step"] for report in reports][-1] == 20
    assert [words[:3] for words in told(tmp_path)] == [
        ["start", "sweep", "None"], ["start", "one", "0"], *(["log", "one", str(step)] for step in (5, 10, 15, 20)),
        ["finish", "one", "FINISHED"], ["finish", "sweep", "FINISHED"],
    ]  # fmt: skip
    assert json.loads((tmp_path / "notebook.sent").read_text())["offset"] == spool.path.stat().st_size


def test_a_tracker_is_found_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "my_tracker.py").write_text(
        "from tempembed.tracking.tracker import Tracker\nclass Mine(Tracker): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find_tracker("my_tracker:Mine").__name__ == "Mine"
    for wrong in ("nobody", "my_tracker:Yours", "no_such_module:Mine"):
        with pytest.raises(
            UserError, match="--trackers: expected mlflow, tensorboard, or MODULE:NAME of one"
        ):
            TrackingSettings(trackers=(wrong,)).resolved()
