"""Runs that want the CPUs that another one has."""

import json
import os
import signal
import time

import pytest

from ray_jobs.local_stack import start, stop
from ray_jobs.sweep import Sweep
from tests.faults.harness import Job, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
OBJECTIVES = ("infonce:0.1", "mrl:0.1")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Ray Train gives up waiting for places after six seconds, not three minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "2")
        stack = start(tmp_path_factory.mktemp("stack"))
    yield stack
    stop(stack.processes)


def test_a_run_waits_and_can_be_stopped_and_a_sweep_loses_no_trial(stack, flags, tmp_path, holds):
    """A run that is held up on one CPU of two; beside it one that needs both, and a sweep for which there is one."""
    first = Job(
        stack, tmp_path / "first", (*flags, "--num-workers", 1, "--collective-timeout", 600, "--mlflow-uri", stack.mlflow_url)
    ).submit()  # fmt: skip
    first.reach(20)
    os.kill(first.worker(0).pid, signal.SIGSTOP)

    second = Job(stack, tmp_path / "second", (*flags, "--mlflow-uri", stack.mlflow_url)).submit()
    wait_for(lambda: "waiting for others to end (CPU: 2 needed, 1 free)" in second.said, 60)
    os.kill(second.driver().pid, signal.SIGINT)
    at = time.monotonic()
    assert second.end(30) != 0
    seconds = time.monotonic() - at
    wait_for(lambda: [run.info.status for run in second.runs()] == ["KILLED"], 30)
    assert second.steps == []

    sweep = Job(
        stack, tmp_path / "sweep",
        (*flags, "--num-workers", 1, "--objectives", *OBJECTIVES, "--no-register", "--experiment", "beside", "--mlflow-uri", stack.mlflow_url),
        module="ray_jobs.tune",
    ).submit()  # fmt: skip
    wait_for(
        lambda: sweep.said.count("] starting") == 2, 120
    )  # Tune counts the CPUs that there are, not those that are free
    assert sweep.end(300) == 0, sweep.said[-4000:]
    assert "it is not finished" not in sweep.said
    records = [json.loads((tmp_path / "sweep" / "trials" / name / "trial.json").read_text()) for name in Sweep(objectives=OBJECTIVES).grid()]  # fmt: skip
    assert [record["status"] for record in records] == ["FINISHED", "FINISHED"]

    os.kill(first.worker(0).pid, signal.SIGCONT)
    assert first.end() == 0, first.said[-4000:]
    holds(
        "another run holds one of two CPUs",
        f"a run that needs both waits and says so, and ends {seconds:.0f} s after Ctrl-C, KILLED in MLflow; of a sweep one trial "
        "waits for the other, none is lost",
    )
