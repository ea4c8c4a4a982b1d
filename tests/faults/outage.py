"""`make outage`: one run, while MLflow is by turns up, killed, and hung (stopped: it takes connections and never answers).

A training process never calls MLflow, so the steps of all three should take the same time. Each round has the three in an
order drawn by the seed; a round's ratios to its own `up` cancel what the machine does meanwhile.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.local_stack import start, stop
from tests.conftest import make_rows
from tests.faults.harness import Job, kill, mlflow_again, wait_for

SETTLE_SECONDS = 4  # after a change: connections time out, a server that came back is told what it missed
EVERY = 20  # steps between reports: twice a second
STATES = ("up", "killed", "hung")


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10, help="of each state in a round")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the states")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tempembed-outage-"))
    pq.write_table(pa.Table.from_pylist(make_rows(4096)), folder / "train.parquet")
    stack = start(folder / "stack")
    servers = [stack.processes[:1]]
    try:
        flags = ("--data", folder / "train.parquet", "--width", 256, "--vocabulary", 400, "--batch-size", 1024,
                 "--steps", 1_000_000, "--log-every", EVERY, "--checkpoint-every", 100_000, "--num-workers", 2,
                 "--mlflow-uri", stack.mlflow_url)  # fmt: skip
        job = Job(stack, folder / "run", flags).submit()
        job.reach(100)
        rng, rounds = random.Random(arguments.seed), []
        for number in range(arguments.rounds):
            found = {}
            for state in rng.sample(STATES, 3):
                found[state] = in_state(state, job, servers, folder, arguments.seconds)
            rounds.append(found)
            shown = "  ".join(f"{state} {1000 * found[state]:.2f} ms" for state in STATES)
            print(f"round {number + 1} of {arguments.rounds}: {shown}", flush=True)
        told_steps = told(job)
        expected = list(range(EVERY, told_steps[-1] + 1, EVERY))
        assert told_steps == expected, "MLflow misses a report, or has one twice"
    finally:
        for processes in reversed(servers):
            stop(processes)
        stop(stack.processes)
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{'state':<8}{'a step':>10}{'to up':>9}   over {arguments.rounds} rounds, a report every {EVERY} steps"
    )
    for state in STATES:
        ratios = [found[state] / found["up"] for found in rounds]
        half = 1.96 * statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
        step = 1000 * statistics.median(found[state] for found in rounds)
        print(f"{state:<8}{step:>7.2f} ms{statistics.mean(ratios):>9.3f} ± {half:.3f}")
    print(f"reports in MLflow: {len(told_steps):,}, each once")


def in_state(state: str, job: Job, servers: list, folder: Path, seconds: float) -> float:
    """Seconds of a step while MLflow is in a state; it is up, and has been told all, before and after."""
    settled(job)
    root = psutil.Process(servers[-1][0][0])
    family = [root, *root.children(recursive=True)]
    for process in family:
        if state == "killed":
            kill(process)
        elif state == "hung":
            os.kill(process.pid, signal.SIGSTOP)
    time.sleep(SETTLE_SECONDS)
    (began, first), deadline = next_step(job), time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.2)
    ended, last = next_step(job)
    if state == "hung":
        for process in family:
            os.kill(process.pid, signal.SIGCONT)
    elif state == "killed":
        servers.append(mlflow_again(job.stack, folder / "stack"))
    return (ended - began) / (last - first)


def next_step(job: Job) -> tuple[float, int]:
    """When the next step is reported, and its number."""
    before = newest(job)
    wait_for(lambda: newest(job) > before, 60, every=0.005)
    return time.monotonic(), newest(job)


def newest(job: Job) -> int:
    """The newest step in metrics.jsonl."""
    with (job.output / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
        whole = file.read().rpartition(b"\n")[0]
    return json.loads(whole.splitlines()[-1])["step"]


def settled(job: Job) -> None:
    """MLflow has been told all but the newest steps."""
    spool, sent = job.output / "mlflow.spool", job.output / "mlflow.sent"
    wait_for(lambda: spool.stat().st_size - json.loads(sent.read_text())["offset"] < 20_000, 120, every=0.5)
    time.sleep(1)


def told(job: Job) -> list[int]:
    """The steps that MLflow has, once it answers."""
    settled(job)
    return job.history()


if __name__ == "__main__":
    main()
