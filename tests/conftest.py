"""Small data made here, a cache of the test run's own, shapes that are checked, and which tests share a process."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tests run side by side, and on small tensors
os.environ["OMP_WAIT_POLICY"] = "passive"  # where there are two threads all the same, they wait without a CPU
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import random
import re
from pathlib import Path
from typing import Any

import jaxtyping._import_hook
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]


def _with_shapes() -> Iterator[str]:
    """Modules whose functions say the shapes of arrays, but for those that numba and triton compile from their source."""
    for path in sorted((ROOT / "tempembed").rglob("*.py")):
        text = path.read_text()
        if "from jaxtyping" in text and not re.search(r"^\s*import (numba|triton)", text, re.MULTILINE):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


# Every array that these take or return is checked against its annotation; not in processes that tests start.
install_import_hook(list(_with_shapes()), "shapes.checked")


def _without_collector(compile: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Compile a module with the garbage collector off.

    A finaliser that is run meanwhile, and whose warning is shown with its source, breaks the compiler of Python 3.11.7 and
    older (gh-106905).
    """
    gc.disable()
    try:
        return compile(*arguments, **options)
    finally:
        gc.enable()


jaxtyping._import_hook._call_with_frames_removed = _without_collector

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a Ray begin first: they take longest. All of `make test` are in one file, for a machine holds one Ray."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


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


@pytest.fixture(scope="session", autouse=True)
def _ranks_are_forked():
    """What processes of `run_on_ranks` import here, they find imported."""
    from tempembed.parallel import pool

    pool.PRELOADED += [
        "sentence_transformers",
        "torch.distributed.fsdp",
        "transformers.models.bert.modeling_bert",
    ]


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
