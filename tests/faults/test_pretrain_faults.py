"""What happens to a pre-training run when a part of it dies. Nothing is mocked."""

import time

import pytest

from tests.conftest import make_room, small_disk
from tests.faults.harness import Job, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
NUM_STEPS, EVERY = 160, 5
ALL = list(range(EVERY, NUM_STEPS + 1, EVERY))


@pytest.fixture(scope="module")
def flags(data_dir):
    """A run that reports some times a second, so that a fault can be timed."""
    return ("--text", data_dir / "train.parquet", "--column", "document", "--exclude", "none", "--vocabulary", 400, "--width", 64,
            "--layers", 2, "--max-tokens", 32, "--batch-tokens", 512, "--steps", NUM_STEPS, "--log-every", EVERY,
            "--checkpoint-every", 25, "--evaluate-every", 80, "--num-workers", 2)  # fmt: skip


@pytest.fixture(scope="module")
def entry():
    return "ray_jobs.pretrain", ALL


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker(job, undisturbed, holds, victim):
    job.submit().reach(60)
    at = kill(job.worker(victim))
    last = job.steps[-1]
    wait_for(lambda: job.steps[-1] > last)
    seconds = time.monotonic() - at
    assert job.end() == 0, job.said[-4000:]
    assert job.equals(undisturbed)
    assert job.steps == job.history() == ALL
    assert [run.info.status for run in job.runs()] == ["FINISHED"]
    holds(
        f"pre-training: kill -9 of rank {victim}",
        f"goes on by itself, {seconds:.0f} s until a new step; weights bit-equal",
    )


def test_a_killed_driver(job, undisturbed, holds):
    job.submit().reach(60)
    kill(job.driver())
    assert job.end() != 0
    (before,) = job.runs()
    assert job.submit().end() == 0, job.said[-4000:]
    assert "going on with" in job.said
    assert job.equals(undisturbed)
    assert job.steps == job.history() == ALL
    assert [run.info.run_id for run in job.runs()] == [before.info.run_id]
    holds(
        "pre-training: kill -9 of the driver", "the same command goes on; same MLflow run; weights bit-equal"
    )


def test_a_full_disk(stack, flags, undisturbed, tmp_path, holds):
    with small_disk(tmp_path, "2m") as disk:
        job = Job(stack, disk / "run", (*flags, "--max-failures", 0), "ray_jobs.pretrain", logs=tmp_path)
        assert job.submit().end() != 0
        assert "DiskFullError: checkpoint of step" in job.said, job.said[-4000:]
        assert not list((job.output / "checkpoints").glob(".partial*"))
        make_room(disk, "64m")
        assert job.submit().end() == 0, job.said[-4000:]
        assert job.equals(undisturbed)
        assert job.steps == ALL
        holds(
            "pre-training: disk full during a checkpoint",
            "DiskFullError; with room the same command ends bit-equal",
        )
