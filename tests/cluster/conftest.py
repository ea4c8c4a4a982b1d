"""A Ray cluster over machines of our own, and runs on it."""

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ray_jobs.connect import new_token
from tests.cluster.network import FIGURES, machines

ROOT = Path(__file__).parents[2]
START_SECONDS = 40
"""How long Ray Train waits for its workers' places before it counts a failed start; of 60 s in Ray."""


@dataclass
class Cluster:
    """A head and a worker machine, one CPU each; the folder is what they share."""

    head: object
    worker: object
    folder: Path
    temp: Path
    """Of Ray's sessions; a short path, since unix sockets take 107 characters."""

    @property
    def env(self):
        """Of everything on them."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "GLOO_", "MLFLOW_"))}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS),
            "TEMPEMBED_CACHE": str(self.folder / "cache"),
            "HF_HUB_OFFLINE": "1",
        }

    def ray(self, *words):
        """A command line of Ray."""
        return [sys.executable, "-m", "ray.scripts.scripts", *words]

    def start_head(self):
        """Ray's head."""
        address = self.head.address
        self.head.start(
            self.ray(
                "start", "--head", "--block", "--disable-usage-stats", f"--node-ip-address={address}", "--port=6379",
                f"--dashboard-host={address}", "--num-cpus=1", f"--temp-dir={self.temp / 'head'}", "--object-store-memory=100000000",
            ),
            self.env, self.folder / "head.log",
        )  # fmt: skip
        self.wait(lambda: self.nodes() == 1, 120, "the head to answer")

    def start_worker(self):
        """Ray on the other machine."""
        self.worker.start(
            self.ray(
                "start", "--block", "--disable-usage-stats", f"--address={self.head.address}:6379",
                f"--node-ip-address={self.worker.address}", "--num-cpus=1", f"--temp-dir={self.temp / 'worker'}",
                "--object-store-memory=100000000",
            ),
            self.env, self.folder / "worker.log",
        )  # fmt: skip

    def nodes(self):
        """How many live nodes the head knows; 0 where it does not answer."""
        ask = (
            "import json, os, sys, urllib.request\n"
            f"r = urllib.request.Request('http://{self.head.address}:8265/api/v0/nodes?limit=100')\n"
            "r.add_header('Authorization', 'Bearer ' + open(os.environ['RAY_AUTH_TOKEN_PATH']).read())\n"
            "rows = json.load(urllib.request.urlopen(r, timeout=10))['data']['result']['result']\n"
            "print(sum(row['state'] == 'ALIVE' for row in rows))"
        )
        done = self.head.run([sys.executable, "-S", "-c", ask], self.env, 30)
        return int(done.stdout) if done.returncode == 0 else 0

    def wait(self, condition, seconds, what):
        """Until it holds; how long that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"expected {what} within {seconds} s\n{self.logs()}"
            time.sleep(0.3)
        return time.monotonic() - began

    def logs(self):
        """The ends of all."""
        return "\n".join(
            f"== {path}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def submit(self, name, *flags):
        """`ray job submit` a run on two workers, on the head."""
        output = self.folder / name
        command = self.ray(
            "job", "submit", "--address", f"http://{self.head.address}:8265", "--", sys.executable, "-m", "ray_jobs.train",
            "--output", str(output), "--num-workers", "2", *map(str, flags),
        )  # fmt: skip
        return Run(
            self, output, self.head.start(command, self.env, self.folder / f"{name}.log"), time.monotonic()
        )


@dataclass
class Run:
    """A submitted run."""

    cluster: Cluster
    output: Path
    process: object
    began: float

    def log(self):
        """What it printed."""
        return (self.output.parent / f"{self.output.name}.log").read_text(errors="replace")

    def steps(self):
        """The steps that were reported, in the order of the reports."""
        path = self.output / "metrics.jsonl"
        return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []

    def reach(self, step, seconds=180):
        """Wait for a report of this step or a later one."""

        def there():
            assert self.process.poll() is None, self.log()[-4000:]
            return any(done >= step for done in self.steps())

        self.cluster.wait(there, seconds, f"step {step} of {self.output.name}")

    def end(self, seconds):
        """(exit code, seconds until then)."""
        began = time.monotonic()
        self.cluster.wait(lambda: self.process.poll() is not None, seconds, f"{self.output.name} to end")
        return self.process.returncode, time.monotonic() - began

    def weights(self):
        """The trained model's bytes."""
        (path,) = (p for p in self.output.glob("**/model.safetensors") if "checkpoints" not in p.parts)
        return path.read_bytes()


def pytest_terminal_summary(terminalreporter):
    """The measured times."""
    for line in FIGURES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes."""
    folder, temp = tmp_path_factory.mktemp("cluster"), Path(tempfile.mkdtemp(prefix="te-", dir="/tmp"))
    new_token(folder / "token")
    try:
        with machines(2) as (head, worker):
            cluster = Cluster(head, worker, folder, temp)
            cluster.start_head()
            cluster.start_worker()
            cluster.wait(lambda: cluster.nodes() == 2, 120, "two nodes")
            yield cluster
    finally:
        shutil.rmtree(temp, ignore_errors=True)
