"""Small data made here, and a cache of the test run's own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TOPICS = ("matrix", "socket", "parser", "calendar", "image", "queue")
VERBS = ("open", "close", "merge", "sort", "invert", "count", "render", "validate")


def make_rows(num: int, seed: int = 0) -> list[dict[str, str]]:
    """Pairs with something to learn: the query's words come back, rarer, in the document."""
    rng = random.Random(seed)
    rows = []
    for i in range(num):
        topic, verb = rng.choice(TOPICS), rng.choice(VERBS)
        name = f"{rng.choice('abcdefgh')}{i:x}"
        rows.append(
            {
                "query": f"{verb} the {topic} named {name} and return it",
                "document": f"def {verb}_{topic}({name}):\n    return {topic}.{verb}({name}, {i})",
                "label": topic,
            }
        )
    return rows


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(pa.Table.from_pylist(make_rows(320)), folder / "train.parquet")
    test = [dict(anchor=r["query"], positive=r["document"], label=r["label"]) for r in make_rows(120, seed=1)]
    pq.write_table(pa.Table.from_pylist(test), folder / "test.parquet")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    before = os.environ.get("TEMPEMBED_CACHE")
    os.environ["TEMPEMBED_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("TEMPEMBED_CACHE")
    if before:
        os.environ["TEMPEMBED_CACHE"] = before


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, so small that it is soon full."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def make_room(disk: Path, size: str) -> None:
    """Let a small disk have so much."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
