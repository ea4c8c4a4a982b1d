"""What happens to an encode when a part of it dies. Nothing is mocked."""

import json
import random
import time

import psutil
import pytest

from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tests.faults.harness import Job, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
NUM, ROWS = 60_000, 1000


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Documents whose encoding takes long enough for a fault to be timed."""
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    words = "open close merge sort invert count render matrix socket parser calendar image queue".split()
    texts = [" ".join(rng.choices(words, k=rng.randint(30, 90))) for _ in range(NUM)]
    static_encoder(train_tokenizer(texts[:500], 300), width=256, max_tokens=128, seed=0).save(
        folder / "model"
    )
    lines = (json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts))
    (folder / "docs.jsonl").write_text("\n".join(lines))
    return (
        folder / "model",
        "--data",
        folder / "docs.jsonl",
        "--codec",
        "prefix:64+int8",
        "--shard-rows",
        ROWS,
    )


@pytest.fixture
def job(stack, flags, tmp_path):
    return Job(stack, tmp_path / tmp_path.name, (*flags, "--mlflow-uri", stack.mlflow_url), "ray_jobs.encode")


@pytest.fixture(scope="module")
def undisturbed(stack, flags, tmp_path_factory):
    job = Job(stack, tmp_path_factory.mktemp("undisturbed") / "whole", flags, "ray_jobs.encode").submit()
    assert job.end() == 0, job.said[-4000:]
    return sums(job)


def sums(job):
    return json.loads((job.output / "shards" / "manifest.json").read_text())["sha256"]


def written(job):
    return {path.name: path.stat().st_mtime_ns for path in job.output.glob("shards/0*.parquet")}


def worker(stack):
    """A process that encodes."""
    family = [child for pid, _ in stack.processes for child in psutil.Process(pid).children(recursive=True)]
    return next(process for process in family if "ray::_call" in " ".join(process.cmdline()[:1]))


def test_a_killed_worker(stack, job, undisturbed, holds):
    job.submit()
    wait_for(lambda: len(written(job)) > 5)
    at, before = kill(worker(stack)), len(written(job))
    wait_for(lambda: len(written(job)) > before + 3)
    seconds = time.monotonic() - at
    assert job.end() == 0, job.said[-4000:]
    assert sums(job) == undisturbed
    assert [run.info.status for run in job.runs()] == ["FINISHED"]
    holds(
        "encode: kill -9 of a worker",
        f"goes on by itself, {seconds:.0f} s until three new shards; the same bytes",
    )


def test_a_killed_driver(job, undisturbed, holds):
    job.submit()
    wait_for(lambda: len(written(job)) > 5)
    kill(job.driver())
    assert job.end() != 0
    (before,) = job.runs()
    there = written(job)
    assert len(there) < NUM // ROWS
    assert job.submit().end() == 0, job.said[-4000:]
    assert "going on:" in job.said
    assert sums(job) == undisturbed
    assert [run.info.run_id for run in job.runs()] == [before.info.run_id]
    kept = sum(written(job)[name] == when for name, when in there.items())
    assert (
        kept >= len(there) - 4
    )  # those that a task of the dead driver was at work on may be written once more
    holds(
        "encode: kill -9 of the driver",
        f"the same command goes on from {kept} shards; same MLflow run; the same bytes",
    )
