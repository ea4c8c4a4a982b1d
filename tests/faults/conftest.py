"""The stack of the fault tests, and the table that they print."""

from pathlib import Path

import pytest

from ray_jobs.local_stack import start, stop
from tests.faults.harness import Job

NUM_STEPS, EVERY = 480, 5  # of some 10 ms
ALL = list(range(EVERY, NUM_STEPS + 1, EVERY))
ROWS: list[tuple[str, str]] = []


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = start(tmp_path_factory.mktemp("stack"))
    yield stack
    stop(stack.processes)


@pytest.fixture(scope="session")
def flags(data_dir):
    """A run that reports twenty times a second, so that a fault can be timed, and has a checkpoint twice a second."""
    return ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
            "--vocabulary", 400, "--batch-size", 32, "--steps", NUM_STEPS, "--log-every", EVERY, "--checkpoint-every", 50,
            "--objective", "tempaggmrl", "--num-workers", 2)  # fmt: skip


@pytest.fixture(scope="session")
def entry():
    """The module that a job runs, and the steps that it reports."""
    return "ray_jobs.train", ALL


@pytest.fixture
def job(stack, flags, entry, tmp_path):
    return Job(stack, tmp_path / tmp_path.name, (*flags, "--mlflow-uri", stack.mlflow_url), entry[0])


@pytest.fixture(scope="module")
def undisturbed(stack, flags, entry, tmp_path_factory):
    """The same run with no fault."""
    module, steps = entry
    job = Job(stack, tmp_path_factory.mktemp("undisturbed") / "whole", flags, module).submit()
    assert job.end() == 0, job.said[-4000:]
    assert job.steps == steps
    return job


@pytest.fixture
def holds(request):
    """Note what was measured for the table of promises."""

    def note(fault: str, measured: str) -> None:
        ROWS.append((fault, measured))

    return note


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        lines = ["| fault | what held |", "|---|---|", *(f"| {fault} | {found} |" for fault, found in ROWS)]
        terminalreporter.write_line("")
        for line in lines:
            terminalreporter.write_line(line)
        Path("results").mkdir(exist_ok=True)
        Path("results/faults.md").write_text("\n".join(lines) + "\n")
