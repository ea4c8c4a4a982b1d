"""The main job on one machine: start a Ray head and MLflow, submit the sweep, ask the registry for 128 bytes, search, stop both.

`make demo` runs it. Uses RAY_ADDRESS (the Jobs server, http://host:8265) and MLFLOW_TRACKING_URI where they are set.
"""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from ray_jobs.connect import check_jobs_server
from ray_jobs.local_stack import environment, start, stop
from tempembed.run.folder import hold
from tempembed.settings.places import INPUTS, located, output_place
from tempembed.system.cache import INSTALLED_CODE
from tempembed.system.console import run, say
from tempembed.system.errors import UserError
from tempembed.system.redact import redact, redact_flag
from tempembed.tracking.mlflow import check_server

BYTES = 128
STOP_SECONDS = 130
"""More than a job of ours may take to stop."""
QUERIES = ("parse a date from text", "largest eigenvalues of a sparse matrix", "retry a request that failed")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the sweep on this machine from nothing to a report."""

    output: str = "results/demo"
    """Folder for trials.json, report.html and the trained models."""
    keep: bool = False
    """Leave the Ray dashboard and MLflow running at the end."""
    stop: bool = False
    """Only stop what an earlier --keep left running."""
    sweep: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """After --: flags of ray_jobs.tune, e.g. -- --objectives infonce:0.06 mrl:0.06 --epochs 1. Paths are those from here."""


def main() -> None:
    """Entry point."""
    demo = tyro.cli(Demo, prog="python -m ray_jobs.demo", description=__doc__)
    output = output_place("--output", demo.output)
    folder = output.parent / "stack"
    if demo.stop:
        stop_kept(folder)
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    ray_url, mlflow_url = os.environ.get("RAY_ADDRESS"), os.environ.get("MLFLOW_TRACKING_URI")
    sweep = located_flags(demo.sweep)
    flags = dict(itertools.pairwise(sweep))
    if ray_url:
        check_jobs_server(ray_url)
    if mlflow_url:
        check_server(mlflow_url, flags.get("--experiment", "tempembed"))
    held = hold(folder, "stack")
    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal is gone; nohup ignores it
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupted)
    stop_kept(folder)
    began = time.monotonic()
    say(
        "starting "
        + (" and ".join(n for n, u in (("Ray", ray_url), ("MLflow", mlflow_url)) if not u) or "nothing")
    )
    stack = start(
        folder, need_ray=not ray_url, need_mlflow=not mlflow_url, num_cpus=max(2, os.cpu_count() or 2)
    )
    keep = False
    try:
        env = dict(os.environ) if ray_url else environment(Path(stack.token_path))
        ray_url, mlflow_url = ray_url or stack.ray_url, mlflow_url or stack.mlflow_url
        say(f"Ray dashboard {ray_url}   MLflow {redact(mlflow_url)}")
        submit(ray_url, mlflow_url, output, sweep, env)
        say(f"report:  {output / 'report.html'}\ntrials:  {output / 'trials.json'}")
        answer(output, mlflow_url, flags.get("--data", INSTALLED_CODE))
        say(f"finished in {time.monotonic() - began:.0f} s")
        keep = demo.keep and bool(stack.processes)
        if keep:
            say(
                f"still up: Ray dashboard {ray_url} (its token: {stack.token_path}), MLflow {redact(mlflow_url)}"
            )
            say("stop them with: make stop")
    except KeyboardInterrupt:
        raise UserError("interrupted; everything that was started is stopped") from None
    finally:
        if not keep:
            stop(stack.processes)
            (folder / "stack.json").unlink(missing_ok=True)
        held.close()


def located_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Flags of a sweep with absolute paths of what it reads: its job starts in another folder.

    >>> located_flags(("--data", "/", "--encoder=static"))
    ('--data', '/', '--encoder', 'static')
    """
    parts: list[str] = []
    for flag in flags:
        name, equals, value = flag.partition("=")
        parts += [name, value] if equals and flag.startswith("--") else [flag]
    reads = {f"--{name}" for name in INPUTS} | {f"--{name.replace('_', '-')}" for name in INPUTS}
    before = ("", *parts)
    return tuple(located(part) if name in reads else part for name, part in zip(before, parts, strict=False))


def submit(ray_url: str, mlflow_url: str, output: Path, flags: tuple[str, ...], env: dict[str, str]) -> None:
    """`ray job submit` the sweep and pass its output on; an interrupt stops the job.

    A job's command line stands in Ray's job list: an address of MLflow that holds a password is not put there, and the job
    takes MLFLOW_TRACKING_URI from the environment that Ray was started in.

    Raises:
        UserError: the job failed.
    """
    name = f"tempembed-demo-{int(time.time())}"
    sweep = [
        sys.executable,
        "-m",
        "ray_jobs.tune",
        "--output",
        str(output),
        *redact_flag("--mlflow-uri", mlflow_url),
        *flags,
    ]
    cli = [sys.executable, "-m", "ray.scripts.scripts", "job"]
    command = [*cli, "submit", "--address", ray_url, "--submission-id", name, "--log-style", "record",
               "--", *sweep]  # fmt: skip
    process = subprocess.Popen(command, env=env, start_new_session=True)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        say("stopping the job")
        subprocess.run([*cli, "stop", "--address", ray_url, name], env=env, check=False, timeout=STOP_SECONDS,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        process.terminate()
        process.wait(10)
        raise
    if code:
        raise UserError(f"expected the sweep to finish, it failed (job {name}); the reason stands above")


def answer(output: Path, mlflow_url: str, texts: str) -> None:
    """The user's question, answered from the registry: what to take for 128 bytes, and a search in `texts` with it."""
    decisions = output / "decisions.json"
    if not decisions.exists():
        say("the registry has decided nothing: no recommendation and no search")
        return
    name = json.loads(decisions.read_text())["name"]
    registry = ("--name", name, *redact_flag("--mlflow-uri", mlflow_url))
    env = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_url}
    model = output / f"model-{BYTES}"
    shutil.rmtree(model, ignore_errors=True)
    index = ("--texts", texts, "--index", str(output / f"index-{BYTES}"), "--top-k", "3")
    for command in (
        ("recommend", "--bytes", str(BYTES), *registry),
        ("export", "--alias", f"bytes-{BYTES}", "--output", str(model), *registry),
        ("search", str(model), *QUERIES, *index),
    ):
        say(f"\n$ tempembed {shlex.join(command)}")
        done = subprocess.run([sys.executable, "-m", "tempembed.cli", *command], env=env, check=False)
        if done.returncode:
            raise UserError(f"expected tempembed {command[0]} to answer, it failed; the reason stands above")


def stop_kept(folder: Path) -> None:
    """End what an earlier --keep left."""
    path = folder / "stack.json"
    if path.exists():
        stop(tuple((pid, created) for pid, created in json.loads(path.read_text())["processes"]))
        path.unlink()
        say("stopped the Ray and MLflow of an earlier run")


if __name__ == "__main__":
    run(main)
