"""Memory of this process, and an allocator that keeps what one step frees for the next."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Make glibc serve large blocks from the heap and not shrink it; returns whether that worked. `give_back` shrinks it.

    glibc maps every block above 32 MB anew, and each of its pages costs a fault when it is first written: for the
    33 MB gradient of a 8192 x 1024 table that was 27 ms of a step of 46.
    """
    glibc = _glibc()
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return glibc is not None and all(glibc.mallopt(name, value) for name, value in wanted)


def give_back() -> None:
    """Give the system what `keep_freed_memory` keeps, of which a later run finds a part only: three fine-tuned trials, each in a
    thread of one process, held 4.0, 6.5 and 9.0 GB.
    """
    if glibc := _glibc():
        gc.collect()
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library; None where it is another one."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def peak_growth(run: Callable[[], object], device: torch.device) -> int:
    """Bytes by which memory grows at its peak during `run`: the GPU's, or this process's (0 where there is no Linux)."""
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
    """Reset the peak of this process to what it holds now; false where the system cannot (not Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Peak bytes of this process (0 where there is no Linux). ru_maxrss would count what its parent held."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def resident_bytes() -> int:
    """Bytes that this process holds now (0 where there is no Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
