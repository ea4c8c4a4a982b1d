"""Small data made here, a cache of the test run's own, and a pool of gloo processes."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import pickle
import random
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.multiprocessing as mp

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


def _member(rank: int, world_size: int, port: int, function: Callable, args: tuple, queue: mp.Queue) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size
    )
    try:
        # as bytes: a tensor would be shared through a process that is about to end
        queue.put((rank, pickle.dumps(function(*args)), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))
    finally:
        torch.distributed.destroy_process_group()


@pytest.fixture
def gloo() -> Callable:
    """`gloo(world_size, function, *args)` runs it in that many processes and returns their results by rank."""

    def start(world_size: int, function: Callable, *args: object) -> list:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = mp.get_context("spawn")
        queue = context.Queue()
        members = [
            context.Process(target=_member, args=(rank, world_size, port, function, args, queue))
            for rank in range(world_size)
        ]
        for member in members:
            member.start()
        results = dict()
        try:
            for _ in members:
                rank, value, error = queue.get(timeout=120)
                assert error is None, f"rank {rank}: {error}"
                results[rank] = pickle.loads(value)
        finally:
            for member in members:
                member.join(20)
                if member.is_alive():
                    member.kill()
        return [results[rank] for rank in range(world_size)]

    return start
