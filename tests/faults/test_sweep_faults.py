"""A sweep that loses a process of a trial, is then asked to stop, and is given again."""

import json
import os
import re
import signal
import threading
from contextlib import contextmanager

import psutil
import pytest
from mlflow import MlflowClient

from ray_jobs.queue import is_unfinished
from ray_jobs.sweep import Sweep
from tempembed.tracking.jsonl import read_jsonl
from tests.conftest import make_room, small_disk
from tests.faults.harness import Job, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
STEPS, EVERY = 400, 5
OBJECTIVES = ("infonce:0.1", "mrl:0.1")
FIRST, SECOND = Sweep(objectives=OBJECTIVES).grid()


def trial_process(folder, num_workers):
    """Of rank 1, or the one that trains the trial by itself."""
    if num_workers:
        return psutil.Process(json.loads((folder / ".ranks" / "rank_1.json").read_text())["process"])
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if re.match(r"ray::(ImplicitFunc|trial)", " ".join(process.info["cmdline"] or []))
    ]
    return found


@pytest.mark.parametrize("num_workers", [2, 0])
def test_a_sweep_loses_a_process_and_is_stopped(stack, data_dir, tmp_path, holds, num_workers):
    name = f"sweep-{num_workers}"
    folders = {each: tmp_path / name / "trials" / each for each in (FIRST, SECOND)}
    flags = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
             "--vocabulary", 400, "--batch-size", 32, "--steps", STEPS, "--log-every", EVERY, "--checkpoint-every", 20,
             "--objectives", *OBJECTIVES, "--num-workers", num_workers, "--cpus-per-worker", 1 if num_workers else 2,
             "--experiment", name, "--no-register", "--mlflow-uri", stack.mlflow_url)  # fmt: skip
    sweep = Job(stack, tmp_path / name, flags, module="ray_jobs.tune").submit()

    def steps(trial):
        return [row["step"] for row in read_jsonl(folders[trial] / "metrics.jsonl")]

    def status(trial):
        return json.loads((folders[trial] / "trial.json").read_text())["status"]

    def statuses():
        client = MlflowClient(stack.mlflow_url)
        experiment = client.get_experiment_by_name(name)
        found = client.search_runs([experiment.experiment_id]) if experiment else []
        return {run.info.run_name: run.info.status for run in found}

    wait_for(lambda: steps(FIRST)[-1:] >= [60], 240, 0.05)
    kill(trial_process(folders[FIRST], num_workers))
    wait_for(lambda: re.search("its process(es)? died", sweep.said), 120)
    wait_for(lambda: steps(SECOND)[-1:] >= [60], 240, 0.05)
    assert status(FIRST) == "RUNNING"
    os.kill(sweep.driver().pid, signal.SIGINT)
    assert sweep.end(120) != 0
    assert "stopping: trials stop with a checkpoint" in sweep.said
    stopped = steps(SECOND)[-1]
    assert stopped < STEPS
    newest = max((folders[SECOND] / "checkpoints").glob("step_*")).name
    assert newest == f"step_{stopped:08d}"
    assert status(SECOND) == "RUNNING"
    wait_for(lambda: statuses() == {f"sweep {name}": "KILLED", FIRST: "FAILED", SECOND: "KILLED"}, 30)

    assert sweep.submit().end(400) == 0, sweep.said[-4000:]
    assert "going on after 0 that ended" in sweep.said
    for trial in folders:
        assert steps(trial) == list(range(EVERY, STEPS + 1, EVERY))
        assert status(trial) == "FINISHED"
        assert not (folders[trial] / "checkpoints").exists()
    assert statuses() == {f"sweep {name}": "FINISHED", FIRST: "FINISHED", SECOND: "FINISHED"}
    holds(
        f"a sweep ({num_workers} Train workers a trial): kill -9 in a trial, then SIGINT",
        f"the trial is taken up at the end; the other stopped with {newest}; KILLED in MLflow; the same command ends with "
        f"each report once",
    )


@pytest.mark.parametrize("num_workers", [2, 0])
def test_a_sweep_whose_disk_is_full_goes_on_when_there_is_room(stack, data_dir, tmp_path, holds, num_workers):
    with small_disk(tmp_path, "800k") as disk:
        flags = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
                 "--vocabulary", 400, "--batch-size", 32, "--steps", STEPS, "--log-every", EVERY, "--checkpoint-every", 20,
                 "--objectives", *OBJECTIVES, "--num-workers", num_workers, "--cpus-per-worker", 1 if num_workers else 2,
                 "--experiment", f"full-{num_workers}",
                 "--no-register", "--max-failures", 1, "--mlflow-uri", stack.mlflow_url)  # fmt: skip
        sweep = Job(stack, disk / "sweep", flags, module="ray_jobs.tune", logs=tmp_path).submit()
        assert sweep.end(300) != 0
        # a checkpoint's, or the driver's own when it takes down how the trial ended: whoever came first
        met = re.search("DiskFullError: checkpoint of step|its end could not be written down", sweep.said)
        assert met, sweep.said[-4000:]
        records = [json.loads(path.read_text()) for path in (disk / "sweep").glob("trials/*/trial.json")]
        lost = [record for record in records if is_unfinished(record)]
        assert lost
        assert all(record["status"] == "FINISHED" for record in records if record not in lost)
        assert re.search(r"^error: .*the disk is full|^error: .*DiskFullError", sweep.said, re.MULTILINE)
        make_room(disk, "64m")
        assert sweep.submit().end(400) == 0, sweep.said[-4000:]
        for trial in (FIRST, SECOND):
            folder = disk / "sweep" / "trials" / trial
            assert json.loads((folder / "trial.json").read_text())["status"] == "FINISHED"
            reports = [row["step"] for row in read_jsonl(folder / "metrics.jsonl")]
            assert reports == list(range(EVERY, STEPS + 1, EVERY))
        holds(
            f"disk full in a sweep ({num_workers} Train workers a trial)",
            f"an error that says so; {len(lost)} of 2 trials unfinished, none failed for good; with room the same command ends with "
            "each report once",
        )


@contextmanager
def filled_when(path, disk):
    """From the moment that the path is there a full disk, and one that stays full whatever is removed from it."""
    stop = threading.Event()

    def fill():
        while not path.exists() and not stop.wait(0.001):
            pass
        with (disk / "filler").open("wb", buffering=0) as file:
            while not stop.is_set():
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    stop.wait(0.005)

    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    try:
        yield
    finally:
        stop.set()
        filler.join()
        (disk / "filler").unlink()


@pytest.mark.parametrize(("num_workers", "state"), [(0, ".tune"), (2, ".tune"), (2, "trials/.ray")])
def test_a_disk_that_fills_while_ray_writes_its_own_state(
    stack, data_dir, tmp_path, holds, num_workers, state
):
    """Before any of ours: what Tune and Train then read is cut off, and their errors name no disk."""
    name = f"own-{num_workers}{state.replace('/', '-')}"
    with small_disk(tmp_path, "32m") as disk:
        flags = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
                 "--vocabulary", 400, "--batch-size", 32, "--steps", 60, "--log-every", EVERY, "--objectives", *OBJECTIVES,
                 "--num-workers", num_workers, "--experiment", name, "--no-register", "--max-failures", 1,
                 "--mlflow-uri", stack.mlflow_url)  # fmt: skip
        sweep = Job(stack, disk / "sweep", flags, module="ray_jobs.tune", logs=tmp_path).submit()
        with filled_when(disk / "sweep" / state, disk):
            assert sweep.end(400) != 0
        (line,) = {found for found in sweep.said.splitlines() if found.startswith("error: ")}
        assert re.search(r"the disk is full|DiskFullError|No space left", line), sweep.said[-4000:]
        assert sweep.submit().end(400) == 0, sweep.said[-4000:]
        for trial in (FIRST, SECOND):
            record = json.loads((disk / "sweep" / "trials" / trial / "trial.json").read_text())
            assert record["status"] == "FINISHED"
        holds(
            f"disk full while Ray writes its own state ({state}, {num_workers} Train workers a trial)",
            "one line that says so, whatever Ray's error; with room the same command ends",
        )
