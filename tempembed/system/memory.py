"""What a step takes of memory, and the C library's allocator, told to keep what a step frees for the next one."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Serve large blocks from the heap, and do not give its end back; whether the allocator could be told.

    glibc maps every block above 32 MB anew, and each of its pages costs a fault when it is first written: for the
    33 MB gradient of a 8192 x 1024 table that was 27 ms of a step of 46. Peak memory stays the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return all(
        mallopt(name, value)
        for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    )


def peak_growth(run: Callable[[], object], device: torch.device) -> int:
    """Bytes by which memory grows at its peak while `run` runs: of the GPU, or of this process (Linux; else 0)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not forget_peak():
        run()
        return 0
    before = peak_bytes()
    run()
    return peak_bytes() - before


def forget_peak() -> bool:
    """Make what this process holds now its peak; false where the system does not let it (not Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The most that this process held (Linux; else 0). ru_maxrss would count what its parent held."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def resident_bytes() -> int:
    """What this process holds now (Linux; else 0)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
