"""A node is lost and comes back: the run goes on with fewer workers and the same batch, so its losses are the same."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ray_jobs.alone import ALONE
from ray_jobs.local_stack import environment, free_port, start, stop
from tests.faults.harness import Job, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray]
STEPS, EVERY = 1500, 5  # of some 40 ms


def second_node(stack, folder):
    """A raylet with one CPU of its own, in the cluster of the stack; (process id, when it began)."""
    head = psutil.Process(stack.processes[-1][0])
    words = next(p.cmdline() for p in head.children(recursive=True) if p.name() == "gcs_server")
    port = next(word.split("=")[1] for word in words if word.startswith("--gcs_server_port="))
    taken: set[int] = set()
    ports = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port",
             "node-manager-port", "object-manager-port")  # fmt: skip
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address=127.0.0.1:{port}", "--block", "--num-cpus=1",
               "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000",
               *(f"--{name}={free_port(0, taken)}" for name in ports)]  # fmt: skip
    with (folder / f"node-{time.time_ns()}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment(Path(stack.token_path)),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return process.pid, psutil.Process(process.pid).create_time()


def losses(job):
    lines = (job.output / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row["train/loss"] for row in map(json.loads, lines)}


def test_two_workers_then_one_then_two(data_dir, tmp_path, holds, monkeypatch):
    monkeypatch.setitem(ALONE, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")  # for once there is a second node
    flags = ("--data", data_dir / "train.parquet", "--width", 2048, "--vocabulary", 400, "--batch-size", 320,
             "--steps", STEPS, "--log-every", EVERY, "--checkpoint-every", 25, "--learning-rate", 1e-4, "--objective", "tempaggmrl")  # fmt: skip
    folder = tmp_path / "stack"
    stack = start(folder, need_mlflow=False, num_cpus=1)
    nodes = []
    try:
        nodes.append(second_node(stack, folder))
        job = Job(
            stack, tmp_path / "elastic",
            (*flags, "--num-workers", 2, "--min-workers", 1, "--resize-seconds", 5, "--max-failures", 3),
        )  # fmt: skip
        job.submit()
        sizes = {}

        def world(step):
            job.reach(step)
            ranks = [
                path
                for path in (job.output / ".ranks").glob("*.json")
                if time.time() - path.stat().st_mtime < 3
            ]
            sizes[job.steps[-1]] = len(ranks)
            return len(ranks)

        wait_for(lambda: (job.output / ".ranks" / "rank_0.json").exists(), 120)
        wait_for(lambda: world(1) == 2, 90)
        lost_at = job.steps[-1]
        stop((nodes[0],), grace_seconds=0)
        at = time.monotonic()
        wait_for(lambda: job.steps[-1] > lost_at + 2 * EVERY and world(1) == 1, 120)
        down = time.monotonic() - at
        nodes.append(second_node(stack, folder))
        at, back_at = time.monotonic(), job.steps[-1]
        wait_for(lambda: job.steps[-1] > back_at and world(1) == 2, 120)
        up = time.monotonic() - at
        assert job.end(400) == 0, job.said[-4000:]
        found = losses(job)
        assert sorted(found) == list(range(EVERY, STEPS + 1, EVERY))

        whole = Job(stack, tmp_path / "whole", (*flags, "--num-workers", 2)).submit()
        assert whole.end(300) == 0, whole.said[-4000:]
        want = losses(whole)
        off = max(abs(found[step] - want[step]) / abs(want[step]) for step in want)
        assert off < 1e-3
        holds(
            f"a node lost at step {lost_at} and back at step {back_at} (2 → 1 → 2 workers)",
            f"on one worker after {down:.0f} s, on two {up:.0f} s after the node was back; losses of {STEPS} steps off by at "
            f"most {off:.0e} of an undisturbed run's",
        )
    finally:
        stop(tuple(nodes))
        stop(stack.processes)
