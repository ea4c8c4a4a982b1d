"""A search with early stopping whose driver is killed, and that goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from ray_jobs.local_stack import environment, start, stop

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
NUM_TRIALS = 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = start(tmp_path_factory.mktemp("stack"))
    yield stack
    stop(stack.processes)


def submit(stack, *flags):
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", stack.ray_url, "--"]
    return subprocess.Popen(
        [*command, sys.executable, "-m", "ray_jobs.tune", *map(str, flags)],
        env=environment(Path(stack.token_path)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def driver(output):
    """The sweep's driver, by its command line."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "ray_jobs.tune" in line and str(output) in line and "submit" not in line and "-c" not in line[:2]:
            yield process


def records(output):
    return {path.parent.name: json.loads(path.read_text()) for path in output.glob("trials/*/trial.json")}


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def test_a_killed_search_goes_on_with_the_same_trials_and_runs(stack, data_dir, tmp_path):
    output = tmp_path / "search"
    flags = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
             "--vocabulary", 400, "--batch-size", 32, "--steps", 27, "--log-every", 3, "--search", "tpe",
             "--num-trials", NUM_TRIALS, "--early-stop", "--mlflow-uri", stack.mlflow_url, "--output", output)  # fmt: skip
    first = submit(stack, *flags)
    # one trial has ended, the next one is running
    wait_for(lambda: sorted(r["status"] for r in records(output).values()) in (["FINISHED", "RUNNING"],))
    before = records(output)
    for process in list(driver(output)):
        os.kill(process.pid, signal.SIGKILL)
    assert first.wait(60) != 0
    ended = next(name for name, r in before.items() if r["status"] == "FINISHED")
    evaluation = output / "trials" / ended / "evaluation.json"
    stamp = evaluation.stat().st_mtime_ns

    second = submit(stack, "--resume", output, "--mlflow-uri", stack.mlflow_url)
    log, _ = second.communicate(timeout=500)
    assert second.returncode == 0, log[-6000:]
    assert "going on after 1 that ended" in log
    after = records(output)
    assert len(after) == NUM_TRIALS
    assert {r["status"] for r in after.values()} <= {"FINISHED", "STOPPED"}
    assert {r["stopped_at"] for r in after.values() if r["status"] == "STOPPED"} <= {3, 9}
    assert {name: r["settings"] for name, r in before.items()}.items() <= {
        name: r["settings"] for name, r in after.items()
    }.items()
    assert evaluation.stat().st_mtime_ns == stamp

    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    runs = [r for r in client.search_runs([experiment]) if r.data.tags.get("tempembed.trial")]
    assert sorted(r.data.tags["tempembed.trial"] for r in runs) == sorted(after)
    assert {r.info.run_id for r in runs} == {r["mlflow_run_id"] for r in after.values()}
    for run in runs:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(set(steps)) == steps  # none twice
        rungs = [m.step for m in client.get_metric_history(run.info.run_id, "probe/score_at_128_bytes")]
        assert rungs in ([3], [3, 9])
    assert len([r for r in client.search_runs([experiment]) if r.info.run_name == "sweep search"]) == 1

    # other settings under the same name, or beside --resume, are refused and nothing changes
    for wrong, why in (
        ((*flags, "--seed", 1), "seed: 0 there, 1 here"),
        (("--resume", output, "--seed", 1), "expected no other settings than the sweep's own, got --seed"),
        (("--resume", tmp_path / "none"), "found no sweep.json in"),
    ):
        refused = submit(stack, *wrong)
        log, _ = refused.communicate(timeout=200)
        assert refused.returncode != 0
        assert why in log
    assert records(output) == after
