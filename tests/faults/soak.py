"""`make soak`: kills workers of one run again and again, and reports its goodput.

goodput = useful / (useful + repeated + restart): seconds of steps that count, of steps that a kill made run twice, and
between a kill and the first step after it.
"""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

from ray_jobs.local_stack import start, stop
from tests.conftest import make_rows
from tests.faults.harness import Job, kill, wait_for

EVERY, CHECKPOINT_EVERY = 10, 100  # steps of some 8 ms


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=4, help="in which the kills are spread")
    parser.add_argument("--seed", type=int, default=0, help="of the times and the victims")
    arguments = parser.parse_args()
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(tempfile.mkdtemp(prefix="tempembed-soak-"))
    pq.write_table(pa.Table.from_pylist(make_rows(640)), folder / "train.parquet")
    stack = start(folder / "stack")
    try:
        rows = soak(stack, folder, arguments.kills, arguments.minutes * 60, random.Random(arguments.seed))
    finally:
        stop(stack.processes)
        shutil.rmtree(folder, ignore_errors=True)
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))


def soak(stack, folder: Path, kills: int, seconds: float, rng: random.Random) -> list[tuple[str, str]]:
    """What was measured, in words."""
    flags = ("--data", folder / "train.parquet", "--width", 64, "--vocabulary", 400, "--batch-size", 32,
             "--steps", 1_000_000, "--log-every", EVERY, "--checkpoint-every", CHECKPOINT_EVERY, "--num-workers", 2,
             "--max-failures", kills)  # fmt: skip
    job = Job(stack, folder / "run", flags).submit()
    job.reach(50)
    began, first = time.monotonic(), job.steps[-1]
    times = sorted(rng.uniform(0.05, 0.9) * seconds for _ in range(kills))
    restart = repeated_seconds = 0.0
    repeated = 0
    step_seconds: list[float] = []
    for number, at in enumerate(times):
        mark, step = time.monotonic(), job.steps[-1]
        while time.monotonic() - began < at or job.steps[-1] < step + 3 * EVERY:
            time.sleep(0.2)
        step_seconds.append((time.monotonic() - mark) / (job.steps[-1] - step))
        victim = rng.randrange(2)
        killed = kill(job.worker(victim))
        last = job.steps[-1]
        wait_for(lambda last=last: job.steps[-1] > last, 120)
        again = last - last // CHECKPOINT_EVERY * CHECKPOINT_EVERY
        took = time.monotonic() - killed
        repeated += again
        repeated_seconds += again * step_seconds[-1]
        restart += max(0.0, took - again * step_seconds[-1])
        print(
            f"kill {number + 1} of {kills}: rank {victim} at step {last}; the next new step after {took:.1f} s",
            flush=True,
        )
    while time.monotonic() - began < seconds:
        time.sleep(0.2)
    total, steps = time.monotonic() - began, job.steps
    done = steps[-1] - first
    assert steps == list(range(EVERY, steps[-1] + 1, EVERY)), "a report is missing or twice"
    useful = total - restart - repeated_seconds
    return [
        ("kills", f"{kills} in {total / 60:.1f} min"),
        ("steps that count", f"{done}, each report once in metrics.jsonl"),
        (
            "steps that ran twice",
            f"{repeated} ({repeated_seconds:.1f} s), checkpoint every {CHECKPOINT_EVERY}",
        ),
        ("restarts", f"{restart:.1f} s, {restart / max(1, kills):.1f} s each"),
        ("goodput", f"{useful / total:.1%}"),
        ("steps a second, recovery included", f"{done / total:.2f}"),
    ]


if __name__ == "__main__":
    main()
