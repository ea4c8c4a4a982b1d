"""A job on a real stack, and its processes by name, so that a fault can be done to each of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from ray_jobs.local_stack import Stack, environment, mlflow_server


def wait_for(condition: Callable[[], Any], seconds: float = 180, every: float = 0.05) -> Any:
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(every)
    return found


@dataclass
class Job:
    """A submitted training job; its folder says what it does."""

    stack: Stack
    output: Path
    flags: tuple[Any, ...]
    module: str = "ray_jobs.train"
    logs: Path | None = None
    """Folder of what it prints; default: beside the output."""
    process: subprocess.Popen | None = None
    log: Path = field(default_factory=Path)

    def submit(self, *more: Any) -> "Job":
        """Give the command; returns at once."""
        self.log = (self.logs or self.output.parent) / f"{self.output.name}-{time.time_ns()}.log"
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "job",
            "submit",
            "--address",
            self.stack.ray_url,
        ]
        command += ["--", sys.executable, "-m", self.module, *self.flags, "--output", self.output, *more]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=environment(Path(self.stack.token_path)), stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self

    def end(self, seconds: float = 300) -> int:
        """Wait for the end; the exit status of the submission."""
        assert self.process
        return self.process.wait(seconds)

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.log.read_text(errors="replace")

    @property
    def steps(self) -> list[int]:
        """Steps in metrics.jsonl."""
        path = self.output / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [json.loads(line)["step"] for line in lines if line.endswith(b"}")]

    def reach(self, step: int, seconds: float = 240) -> None:
        """Wait until a step was reported."""

        def reached() -> bool:
            assert self.process
            assert self.process.poll() is None or self.steps[-1:] >= [step], self.said[-4000:]
            return self.steps[-1:] >= [step]

        wait_for(reached, seconds)

    def worker(self, rank: int) -> psutil.Process:
        """The process of a rank."""
        return psutil.Process(
            json.loads((self.output / ".ranks" / f"rank_{rank}.json").read_text())["process"]
        )

    def driver(self) -> psutil.Process:
        """The process that runs our module."""
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if (
                self.module in line
                and str(self.output) in line
                and "submit" not in line
                and line[0] == sys.executable
            ):
                return process
        raise AssertionError(f"no driver of {self.output}")

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Of the finished model, all its modules."""
        found = {}
        for path in sorted(self.output.glob("**/model.safetensors")):
            if "checkpoints" not in path.parts:
                found |= {f"{path.relative_to(self.output)}/{name}": t for name, t in load_file(path).items()}
        assert found
        return found

    def equals(self, other: "Job") -> bool:
        """Bit for bit the same model."""
        mine, theirs = self.weights, other.weights
        return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)

    def runs(self, uri: str | None = None) -> list[Any]:
        """Its runs in MLflow."""
        client = MlflowClient(uri or self.stack.mlflow_url)
        experiment = client.get_experiment_by_name("tempembed")
        if experiment is None:
            return []
        return client.search_runs([experiment.experiment_id], f"attributes.run_name = '{self.output.stem}'")

    def history(self, key: str = "train/loss", uri: str | None = None) -> list[int]:
        """The steps of a metric as MLflow has them."""
        (run,) = self.runs(uri)
        return sorted(
            m.step
            for m in MlflowClient(uri or self.stack.mlflow_url).get_metric_history(run.info.run_id, key)
        )


def kill(process: psutil.Process) -> float:
    """SIGKILL; when."""
    os.kill(process.pid, signal.SIGKILL)
    return time.monotonic()


def mlflow_again(stack: Stack, folder: Path) -> tuple[tuple[int, float], ...]:
    """The same database on the same port."""
    port = int(stack.mlflow_url.rsplit(":", 1)[1])
    process = subprocess.Popen(
        [sys.executable, *mlflow_server(folder, port)], env=environment(Path(stack.token_path)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    process.returncode = 0  # it outlives this object: Python would warn that it still runs

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers, 60)
    return ((process.pid, psutil.Process(process.pid).create_time()),)
