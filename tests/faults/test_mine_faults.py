"""What happens to mining when a part of it dies. Nothing is mocked."""

import random

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tests.faults.harness import Job, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
NUM = 60_000


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Pairs whose search takes long enough for a fault to be timed."""
    folder, rng = tmp_path_factory.mktemp("pairs"), random.Random(0)
    words = "open close merge sort invert count render matrix socket parser calendar image queue".split()
    words += [f"{word}{number}" for word in words for number in range(30)]
    rows = []
    for number in range(NUM):
        document = rng.choices(words, k=20)
        rows.append(
            {"query": " ".join([*rng.sample(document, 4), str(number)]), "document": " ".join(document)}
        )
    texts = [row["document"] for row in rows[:2000]]
    static_encoder(train_tokenizer(texts, 600), width=256, max_tokens=128, seed=0).save(folder / "model")
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    return folder / "model", "--data", folder / "pairs.parquet", "--relative-margin", 0.02


class Mining(Job):
    """A job whose output is a file, and whose work is in a folder of its own."""

    @property
    def cache(self):
        return self.output.parent / "cache"

    def searched(self):
        """When each block of queries was searched."""
        return {path.name: path.stat().st_mtime_ns for path in self.cache.glob("nearest/*/*.npz")}


def mining(stack, flags, folder):
    output = folder / f"{folder.name}.parquet"
    return Mining(
        stack,
        output,
        (*flags, "--cache", folder / "cache", "--mlflow-uri", stack.mlflow_url),
        "ray_jobs.mine",
    )


@pytest.fixture
def job(stack, flags, tmp_path):
    return mining(stack, flags, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(stack, flags, tmp_path_factory):
    job = mining(stack, flags, tmp_path_factory.mktemp("undisturbed")).submit()
    assert job.end() == 0, job.said[-4000:]
    return pq.read_table(job.output)


def worker(stack):
    """A process that searches."""
    family = [child for pid, _ in stack.processes for child in psutil.Process(pid).children(recursive=True)]
    return next(process for process in family if "ray::_call" in " ".join(process.cmdline()[:1]))


def test_a_killed_worker(stack, job, undisturbed, holds):
    job.submit()
    wait_for(lambda: len(job.searched()) > 3)
    kill(worker(stack))
    assert job.end() == 0, job.said[-4000:]
    assert pq.read_table(job.output).equals(undisturbed)
    holds("mine: kill -9 of a worker", "goes on by itself; the same negatives")


def test_a_killed_driver(job, undisturbed, holds):
    job.submit()
    wait_for(lambda: len(job.searched()) > 3)
    kill(job.driver())
    assert job.end() != 0
    assert not job.output.exists()
    (before,) = job.runs()
    there = job.searched()
    assert job.submit().end() == 0, job.said[-4000:]
    assert "blocks of queries are searched" in job.said
    assert pq.read_table(job.output).equals(undisturbed)
    assert [run.info.run_id for run in job.runs()] == [before.info.run_id]
    kept = sum(job.searched()[name] == when for name, when in there.items())
    assert (
        kept >= len(there) - 4
    )  # those that a task of the dead driver was at work on may be searched once more
    holds(
        "mine: kill -9 of the driver",
        f"the same command goes on from {kept} blocks; same MLflow run; the same negatives",
    )
