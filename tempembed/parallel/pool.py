"""Run a function on W processes of this machine that form a process group."""

import os
import pickle
import queue
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tempembed.parallel.listening import LOOPBACK, listen_on

PRELOADED = ["torch.nn.parallel", "torch._dynamo"]
"""Modules that the processes find imported."""


def run_on_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 120
) -> list[Any]:
    """`function(*args)` on each of `world_size` new processes; the results by rank.

    Over NCCL where every rank finds a GPU, else over gloo, with an equal share of the CPUs' threads.

    Raises:
        RuntimeError: a rank failed (with its traceback) or gave no answer in time.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    context = _context()
    answers = context.Queue()
    members = [
        context.Process(target=_member, args=(rank, world_size, port, function, args, answers), daemon=True)
        for rank in range(world_size)
    ]
    for member in members:
        member.start()
    results = {}
    try:
        for _ in members:
            rank, value, error = answers.get(timeout=timeout)
            if error:
                raise RuntimeError(f"rank {rank} of {world_size}: {error}")
            results[rank] = pickle.loads(value)
    except queue.Empty:
        silent = sorted(set(range(world_size)) - results.keys())
        raise RuntimeError(
            f"expected an answer of every rank in {timeout:g} s, got none of {silent}"
        ) from None
    finally:
        for member in members:
            member.join(20 if len(results) == world_size else 0)
            if member.is_alive():
                member.kill()
    return [results[rank] for rank in range(world_size)]


def _context() -> Any:
    """Forks of one process that has imported and done nothing else, where there are such; importing torch takes seconds."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # read once, when the first process starts
    return context


def _member(
    rank: int, world_size: int, port: int, function: Callable[..., Any], args: tuple[Any, ...], answers: Any
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world_size))
    over_nccl = torch.cuda.device_count() >= world_size
    if over_nccl:
        torch.cuda.set_device(rank)
    listen_on(LOOPBACK)
    dist.init_process_group(
        "nccl" if over_nccl else "gloo",
        init_method=f"tcp://{LOOPBACK}:{port}",
        rank=rank,
        world_size=world_size,
    )
    try:
        # as bytes: a tensor would be shared through a process that is about to end
        answers.put((rank, pickle.dumps(function(*args)), None))
    except BaseException:
        answers.put((rank, None, traceback.format_exc()))
    finally:
        dist.destroy_process_group()
