"""The machine: its name, the rates that floors are made of, and a clock that waits for it."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from importlib.metadata import version

import torch

PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of products on a GPU: of float32 inputs in float32 or in TF32 (which torch leaves off), and of bfloat16 inputs.

sentence-transformers casts bfloat16 to float32 before it multiplies, so TF32 is on for the last as well.
"""


def describe(device: str) -> str:
    """Date, hardware and versions in one line."""
    if device == "cpu":
        hardware = f"{os.cpu_count()} CPU cores ({torch.backends.cpu.get_cpu_capability()})"
        return f"{date.today()}, {hardware}, torch {torch.__version__}, Python {platform.python_version()}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    driver = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    names = ("triton", "sentence-transformers", "transformers", "accelerate")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{date.today()}, {torch.cuda.get_device_name()}, driver {driver}, {os.cpu_count()} CPU cores, "
        f"torch {torch.__version__}, {versions}, Python {platform.python_version()}"
    )


@contextmanager
def in_precision(name: str) -> Iterator[torch.dtype]:
    """Products in this precision; the dtype of their inputs."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
    yield torch.bfloat16 if name == "bfloat16" else torch.float32
    torch.set_float32_matmul_precision(before)


def seconds(run: Callable[[], object], device: str) -> float:
    """Of one run, from an idle device until it is idle again."""
    _wait(device)
    began = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - began


def best(run: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Fewest seconds of several runs, after one that does not count."""
    run()
    return min(seconds(run, device) for _ in range(repeats))


def gpu_rates(n: int = 8192) -> dict[str, float]:
    """Bytes/s of a copy, read and written; operations/s of an n x n x n product in each precision; on random numbers."""
    source = torch.randn(2**29, device="cuda")
    out = torch.empty_like(source)
    found = {"copy": 2 * source.nbytes / best(partial(out.copy_, source), "cuda")}
    for name in PRECISIONS:
        with in_precision(name) as dtype:
            left, right = (torch.randn(n, n, device="cuda").to(dtype) for _ in range(2))
            out = torch.empty_like(left)
            found[name] = 2 * n**3 / best(partial(torch.mm, left, right, out=out), "cuda")
    return found


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
