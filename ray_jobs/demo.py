"""The main job on one machine: start a Ray head and MLflow, submit the sweep, ask the registry for 128 bytes, search, stop both.

`make demo` runs it. Uses RAY_ADDRESS (the Jobs server, http://host:8265) and MLFLOW_TRACKING_URI where they are set.
"""

import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import tyro

from ray_jobs.connect import check_jobs_server
from ray_jobs.local_stack import environment, start, stop
from tempembed.run.folder import hold
from tempembed.settings.places import INPUTS, located, located_source, output_place
from tempembed.system.cache import INSTALLED_CODE, INSTALLED_GLYPHS
from tempembed.system.console import run, say
from tempembed.system.errors import UserError
from tempembed.system.redact import redact, redact_flag
from tempembed.tracking.mlflow import check_server

BYTES = 128
NUM_CPUS = max(4, os.cpu_count() or 4)
"""For Ray: two trials at a time at least, so that the processes of one start while the other trains."""
STOP_SECONDS = 130
"""More than a job of ours may take to stop."""
GLYPHS = ("--batch-size", "256", "--epochs", "3", "--direction", "both")
"""How the demo trains on pictures: 309 steps."""
GLYPH_QUERIES = (
    "greek small letter alpha with tonos",
    "rightwards arrow with tail",
    "cyrillic capital letter ya",
)
QUERIES = ("parse a date from text", "largest eigenvalues of a sparse matrix", "retry a request that failed")


RUN_COMMANDS = """
import json, shlex, sys
from tempembed import cli
for command in json.loads(sys.argv[1]):
    print(f"\\n$ tempembed {shlex.join(command)}", file=sys.stderr, flush=True)
    sys.argv = ["tempembed", *command]
    cli.main()
"""
"""Runs commands one after the other in one process, which imports what they need once."""
STORY = ("infonce:0.06", "infonce:0.1", "infonce:0.4", "tempaggmrl", "tempaggmrl-sign")
"""What the demo trains: retrieval and dimension fall as the temperature rises, several temperatures keep most in few bytes, and terms
on signs keep most in bits."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the search on this machine from nothing to a report."""

    output: str = "results/demo"
    """Folder for trials.json, report.html and the trained models."""
    all: bool = False
    """All nine objectives of ray_jobs.tune in place of five; after a run of the five, the other four."""
    keep: bool = False
    """Leave the Ray dashboard and MLflow running at the end."""
    stop: bool = False
    """Only stop what an earlier --keep left running."""
    sweep: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """After --: flags of ray_jobs.tune, e.g. -- --objectives infonce:0.06 mrl:0.06 --epochs 1. Paths are those from here."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of ray_jobs.tune, with absolute paths."""
        given = located_flags(self.sweep)
        if is_of_glyphs(given) and not {"--batch-size", "--epochs", "--steps"} & {*given}:
            given = (*given, *GLYPHS)
        return (
            given
            if self.all or {"--objectives", "--search", "--resume"} & {*given}
            else ("--objectives", *STORY, *given)
        )


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
    flags = dict(itertools.pairwise(demo.flags))
    if ray_url:
        check_jobs_server(ray_url)
    if mlflow_url:
        check_server(mlflow_url, flags.get("--experiment", "tempembed"))
    held = hold(folder, "stack")
    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal is gone; nohup ignores it
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupted)
    stop_kept(folder)
    names = [name for name, url in (("Ray", ray_url), ("MLflow", mlflow_url)) if not url]
    say("starting " + (" and ".join(names) or "nothing"))
    clock = Clock()
    stack = start(folder, need_ray=not ray_url, need_mlflow=not mlflow_url, num_cpus=NUM_CPUS)
    clock.lap(" and ".join(names) + " start")
    keep = False
    try:
        env = dict(os.environ) if ray_url else environment(Path(stack.token_path))
        ray_url, mlflow_url = ray_url or stack.ray_url, mlflow_url or stack.mlflow_url
        say(f"Ray dashboard {ray_url}   MLflow {redact(mlflow_url)}")
        before = {trial["name"] for trial in trials(output)} if "--fresh" not in demo.flags else set()
        submit(ray_url, mlflow_url, output, demo.flags, env)
        clock.lap(cost([trial for trial in trials(output) if trial["name"] not in before]))
        say(f"report:  {output / 'report.html'}\ntrials:  {output / 'trials.json'}")
        answer(output, mlflow_url, flags.get("--data", INSTALLED_CODE))
        clock.lap("recommend, export, search")
        say(f"\n{clock}")
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


def is_of_glyphs(flags: Sequence[str]) -> bool:
    """Whether the data are the pictures that are always at hand."""
    return any(flag.startswith(INSTALLED_GLYPHS) for flag in flags)


class Clock:
    """What each part took."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._lines: list[str] = []

    def lap(self, what: str) -> None:
        """A part is done."""
        now = time.monotonic()
        self._lines.append(f"{now - self._last:>7.0f}  {what}")
        self._last = now

    def __str__(self) -> str:
        return "\n".join(["seconds", *self._lines, f"{self._last - self._began:>7.0f}  in all"])


def trials(output: Path) -> list[dict[str, Any]]:
    """The trials that the search in this folder has reported; none before it has."""
    path = output / "trials.json"
    return json.loads(path.read_text()) if path.exists() else []


def cost(done: Sequence[Mapping[str, Any]]) -> str:
    """What the search took its time for, by the means over the trials that it finished.

    >>> cost([{"cost": {"train_seconds": 16, "evaluation_seconds": 13, "overhead_seconds": 9}}, {"status": "FAILED"}])
    'the search: data and decisions, and 1 trials of 38 s: 16 training, 13 measuring, 9 starting processes'
    """
    costs = [trial["cost"] for trial in done if "cost" in trial]
    if not costs:
        return "the search: data and decisions, no trial"
    train, measure, begin = (
        statistics.fmean(each[f"{name}_seconds"] for each in costs)
        for name in ("train", "evaluation", "overhead")
    )
    return (
        f"the search: data and decisions, and {len(costs)} trials of {train + measure + begin:.0f} s: {train:.0f} training, "
        f"{measure:.0f} measuring, {begin:.0f} starting processes"
    )


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
    found, name = list[str](), ""
    for part in parts:
        name = part if part.startswith("--") else name
        find = located if name == "--encoder" else located_source
        found.append(find(part) if name in reads else part)
    return tuple(found)


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
    commands = [
        ("recommend", "--bytes", str(BYTES), *registry),
        ("export", "--alias", f"bytes-{BYTES}", "--output", str(model), *registry),
        ("search", str(model), *(GLYPH_QUERIES if is_of_glyphs([texts]) else QUERIES), *index),
    ]
    if subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS, json.dumps(commands)], env=env, check=False
    ).returncode:
        raise UserError("expected tempembed to answer, it failed; the reason stands above")


def stop_kept(folder: Path) -> None:
    """End what an earlier --keep left."""
    path = folder / "stack.json"
    if path.exists():
        stop(tuple((pid, created) for pid, created in json.loads(path.read_text())["processes"]))
        path.unlink()
        say("stopped the Ray and MLflow of an earlier run")


if __name__ == "__main__":
    run(main)
