"""What happens to a training run when a part of it dies, stops, or is gone for a while. Nothing is mocked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from ray_jobs.local_stack import environment, start, stop
from tests.conftest import make_room, small_disk
from tests.faults.conftest import ALL, NUM_STEPS
from tests.faults.harness import Job, kill, mlflow_again, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker(job, undisturbed, holds, victim):
    job.submit().reach(120)
    at = kill(job.worker(victim))
    last = job.steps[-1]
    wait_for(lambda: job.steps[-1] > last)
    seconds = time.monotonic() - at
    assert job.end() == 0, job.said[-4000:]
    assert job.equals(undisturbed)
    assert job.steps == ALL
    assert job.history() == ALL
    assert [run.info.status for run in job.runs()] == ["FINISHED"]
    assert seconds <= 30
    holds(
        f"kill -9 of rank {victim}",
        f"goes on by itself, {seconds:.0f} s until a new step; weights bit-equal; all {len(ALL)} reports once each in MLflow",
    )


def test_a_killed_driver_and_a_second_live_attempt(job, undisturbed, holds):
    job.submit().reach(80)
    worker = job.worker(1)
    os.kill(worker.pid, signal.SIGSTOP)  # so that it is still alive when the second has started
    second = Job(job.stack, job.output, job.flags).submit()
    assert second.end() != 0
    assert "another one holds it now (process" in second.said
    kill(job.driver())
    os.kill(worker.pid, signal.SIGCONT)
    assert job.end() != 0
    (before,) = job.runs()
    orphan = job.output / "checkpoints" / ".partial-step_00000099"
    orphan.mkdir()
    assert job.submit().end() == 0, job.said[-4000:]
    assert "going on with" in job.said
    assert job.equals(undisturbed)
    assert job.steps == job.history() == ALL
    assert [run.info.run_id for run in job.runs()] == [before.info.run_id]
    assert not orphan.exists()
    holds(
        "kill -9 of the driver",
        "the same command goes on; same MLflow run; weights bit-equal; a second live one is refused",
    )


def test_a_killed_head(flags, undisturbed, tmp_path, holds):
    """The whole of Ray dies; MLflow stays."""
    stacks = []
    try:
        stacks.append(start(tmp_path / "one"))
        uri = stacks[0].mlflow_url
        job = Job(stacks[0], tmp_path / "run", (*flags, "--mlflow-uri", uri)).submit()
        job.reach(80)
        driver, at = job.driver(), time.monotonic()
        ray_pid, _ = stacks[0].processes[-1]
        head = psutil.Process(ray_pid).children(recursive=True)
        victims = [each for each in head if "gcs_server" in each.name() or "raylet" in each.name()]
        for process in victims:
            with suppress(ProcessLookupError):  # Ray ends the others when it sees the first one gone
                kill(process)
        job.end()
        stop(stacks[0].processes[-1:])
        wait_for(lambda: not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE, 120)
        seconds = time.monotonic() - at
        stacks.append(start(tmp_path / "two", need_mlflow=False))
        again = Job(stacks[1], job.output, job.flags).submit()
        assert again.end() == 0, again.said[-4000:]
        assert again.equals(undisturbed)
        assert again.steps == again.history(uri=uri) == ALL
        holds(
            "kill -9 of Ray's head",
            f"the driver ends after {seconds:.0f} s; on a new head the same command goes on; same MLflow run; weights bit-equal",
        )
    finally:
        for stack in stacks:
            stop(stack.processes)


def test_a_stopped_worker_is_named(job, holds):
    job.submit("--collective-timeout", 8, "--max-failures", 0).reach(60)
    victim = job.worker(1)
    os.kill(victim.pid, signal.SIGSTOP)
    at = time.monotonic()
    try:
        wait_for(lambda: "SilentRankError" in job.said, 60)
        seconds = time.monotonic() - at
        assert job.end(120) != 0
        ended = time.monotonic() - at
    finally:
        if victim.is_running():
            os.kill(victim.pid, signal.SIGCONT)
    assert f"rank 1 (process {victim.pid} on {socket.gethostname()}, silent for" in job.said, job.said[-4000:]
    assert "expected all 2 workers to answer within 8 s" in job.said
    assert seconds < 8 + 10
    holds(
        "SIGSTOP of rank 1, --collective-timeout 8",
        f"error that names rank 1, its process and host, after {seconds:.0f} s; the job ends after {ended:.0f} s",
    )


def test_mlflow_away_and_back_and_never_back(flags, tmp_path, holds):
    stacks = []
    try:
        stacks.append(start(tmp_path / "servers"))
        stack = stacks[0]
        steps, every = 2400, 20
        job = Job(
            stack, tmp_path / "run",
            (*flags, "--mlflow-uri", stack.mlflow_url, "--steps", steps, "--log-every", every),
        ).submit()  # fmt: skip
        job.reach(100)
        at, step = time.monotonic(), job.steps[-1]
        job.reach(500)
        before = (time.monotonic() - at) / (job.steps[-1] - step)
        _kill_mlflow(stack.processes[:1])
        at, step = time.monotonic(), job.steps[-1]
        job.reach(1000)
        during = (time.monotonic() - at) / (job.steps[-1] - step)
        revived = mlflow_again(stack, tmp_path / "servers")
        stacks.append(revived)
        outage = time.monotonic() - at
        assert job.end() == 0, job.said[-4000:]
        assert "does not answer" in job.said
        assert "answers again after" in job.said
        wait_for(lambda: _runs(job) == ["FINISHED"], 30)
        assert job.history() == list(range(every, steps + 1, every))
        holds(
            f"MLflow killed, back after {outage:.0f} s",
            f"all {steps // every} reports once each in MLflow; a step takes {1000 * before:.1f} ms before and {1000 * during:.1f} in the outage",
        )

        job = Job(stack, tmp_path / "never", (*flags, "--mlflow-uri", stack.mlflow_url)).submit()
        job.reach(40)
        _kill_mlflow(revived)
        wait_for(lambda: (job.output / "evaluation.html").exists())  # the last that it makes
        at = time.monotonic()
        assert job.end() == 0, job.said[-4000:]
        seconds = time.monotonic() - at
        assert f"they wait in {job.output / 'mlflow.spool'}" in job.said
        assert seconds <= 10
        stacks.append(mlflow_again(stack, tmp_path / "servers"))
        assert job.submit().end() == 0, job.said[-4000:]
        assert job.history() == ALL
        holds(
            "MLflow killed, never back",
            f"the run ends well, {seconds:.0f} s after its measurement; the spool is named; the same command delivers it later",
        )
    finally:
        for each in reversed(stacks):
            stop(each.processes if hasattr(each, "processes") else each)


def _runs(job):
    try:
        return [run.info.status for run in job.runs()]
    except Exception:  # the server is not up yet
        return []


def _kill_mlflow(processes):
    root = psutil.Process(processes[0][0])
    for process in [root, *root.children(recursive=True)]:
        kill(process)


def test_a_full_disk(stack, flags, undisturbed, tmp_path, holds):
    with small_disk(tmp_path, "300k") as disk:
        job = Job(stack, disk / "run", (*flags, "--max-failures", 0), logs=tmp_path).submit()
        assert job.end() != 0
        said = job.said
        assert "DiskFullError: checkpoint of step" in said, said[-4000:]
        assert "may need" in said  # the warning before
        whole = sorted((job.output / "checkpoints").glob("step_*"))
        assert not list((job.output / "checkpoints").glob(".partial*"))
        make_room(disk, "64m")
        job.submit()
        assert job.end() == 0, job.said[-4000:]
        assert job.equals(undisturbed)
        assert job.steps == ALL
        holds(
            "disk full during a checkpoint",
            f"DiskFullError with the sum; {len(whole)} checkpoints whole; with room the same command ends bit-equal",
        )


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_damaged_checkpoint(job, undisturbed, holds, name):
    job.submit().reach(120)
    kill(job.driver())
    job.end()
    newest, before = sorted((job.output / "checkpoints").glob("step_*"), reverse=True)[:2]
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / name).write_bytes(content)
    assert job.submit().end() == 0, job.said[-4000:]
    assert f"{newest.name} is damaged" in job.said
    assert "falling back to the one before" in job.said
    assert job.equals(undisturbed)
    assert job.steps == ALL
    holds(
        f"a bit of the newest checkpoint's {name} flipped",
        f"found by checksum; went on from {before.name}; weights bit-equal",
    )


def test_no_whole_checkpoint_is_refused(job, holds):
    job.submit("--max-failures", 0).reach(120)
    kill(job.driver())
    job.end()
    for path in (job.output / "checkpoints").glob("step_*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    assert job.submit("--max-failures", 0).end() != 0
    assert "expected a checkpoint that is whole, found none" in job.said, job.said[-4000:]
    holds("all checkpoints truncated", "refused, with what to do")


@pytest.mark.parametrize("module", ["ray_jobs.train", "ray_jobs.tune"])
def test_more_than_there_is(job, holds, module):
    at = time.monotonic()
    flags = (*job.flags, "--num-workers", 16, "--cpus-per-worker", 0.5)
    big = Job(job.stack, job.output, flags, module=module).submit()
    assert big.end(120) != 0
    seconds = time.monotonic() - at
    assert "CPU: 16 workers x 0.5 = 8 needed, 2 in the cluster" in big.said, big.said[-4000:]
    assert "lower --num-workers or --cpus-per-worker" in big.said
    holds(f"{module}: 16 workers on 2 CPUs", f"refused with the arithmetic after {seconds:.0f} s")


@pytest.mark.parametrize("how", ["ray job stop", "SIGINT"])
def test_stopped_in_order(job, undisturbed, holds, how):
    before = {p.pid for p in psutil.process_iter()}
    job.submit().reach(20)
    driver = job.driver()
    job.reach(70)
    workers = [job.worker(0), job.worker(1)]
    if how == "SIGINT":
        os.kill(driver.pid, signal.SIGINT)
    else:
        name = next(word.strip("'") for word in job.said.split() if word.startswith("'raysubmit_"))
        token = Path(job.stack.token_path).read_text()  # as `ray job stop` does, without its seconds of start
        request = urllib.request.Request(
            f"{job.stack.ray_url}/api/jobs/{name}/stop",
            method="POST",
            headers={"Authorization": f"Bearer {token}"},
        )
        urllib.request.urlopen(request, timeout=10).close()
    assert job.end() != 0 or how == "ray job stop"  # whose submission ends well
    wait_for(lambda: not any(worker.is_running() for worker in workers), 60)
    step = job.steps[-1]
    assert step < NUM_STEPS
    newest = max((job.output / "checkpoints").glob("step_*"))
    wait_for(lambda: _runs(job) == ["KILLED"], 30)
    wait_for(lambda: not _ours({p.pid for p in psutil.process_iter()} - before, job), 60)
    assert job.submit().end() == 0, job.said[-4000:]
    assert job.equals(undisturbed)
    assert job.steps == job.history() == ALL
    assert _runs(job) == ["FINISHED"]
    holds(
        how,
        f"at step {step} with {newest.name}; KILLED in MLflow, no process left; the same command ends bit-equal",
    )


def _ours(pids, job):
    found = []
    for pid in pids:
        try:
            if str(job.output) in " ".join(psutil.Process(pid).cmdline()):
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_stopped_trials_leave_nothing(stack, flags, tmp_path, holds):
    """A search whose weak trials ASHA stops: placement groups, actors' processes and files are counted."""

    def groups():
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "list",
            "placement-groups",
            "--format",
            "json",
            "--limit",
            "1000",
        ]
        env = {**environment(Path(stack.token_path)), "RAY_API_SERVER_ADDRESS": stack.ray_url}
        found = subprocess.run(
            [*command, "--address", stack.ray_url], env=env, capture_output=True, text=True, check=True
        )
        return json.loads(found.stdout)

    job = Job(
        stack, tmp_path / "search",
        (*flags, "--steps", 27, "--log-every", 3, "--search", "tpe", "--num-trials", 4, "--early-stop",
         "--num-workers", 1, "--mlflow-uri", stack.mlflow_url),
        module="ray_jobs.tune",
    )  # fmt: skip
    job.submit()
    assert job.end(500) == 0, job.said[-4000:]
    records = [json.loads(path.read_text()) for path in job.output.glob("trials/*/trial.json")]
    stopped = [record for record in records if record["status"] == "STOPPED"]
    assert len(records) == 4
    assert stopped
    wait_for(lambda: all(group["state"] == "REMOVED" for group in groups()), 60)

    def workers():
        return [
            p.pid
            for p in psutil.process_iter(["cmdline"])
            if "ray::RayTrainWorker" in " ".join(p.info["cmdline"] or [])
        ]

    wait_for(lambda: not workers(), 60)
    left = [
        path
        for record in stopped
        for path in (job.output / "trials" / record["name"]).glob("checkpoints/.partial*")
    ]
    assert not left
    client = MlflowClient(stack.mlflow_url)
    found = client.search_runs(
        [client.get_experiment_by_name("tempembed").experiment_id], "tags.`tempembed.outcome` = 'STOPPED'"
    )
    assert len(found) == len(stopped)
    shutil.rmtree(job.output)
    holds(
        "trials stopped by ASHA",
        f"{len(stopped)} of 4 stopped; all placement groups removed, no worker process and no partial file left",
    )
