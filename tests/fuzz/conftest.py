"""Memory of each fuzz test is bounded; after a long run a table says what was tried."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from tempembed.index.hamming import hamming_top_k
from tempembed.system.memory import peak_bytes, resident_bytes
from tests.fuzz.harness import CASES

MEMORY = 1.5e9  # bytes that a target may grow by
ROWS: dict[str, tuple[float, str]] = {}
GROWTH: dict[str, int] = {}


@pytest.fixture
def folder():
    """An empty one in memory, where there is such a place: ten thousand cases would wait for the disk."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """The kernel of the search is compiled before a case's time is taken: an alarm in its compiler breaks the process."""
    codes = torch.zeros(2, 8, dtype=torch.uint8)
    hamming_top_k(codes, codes, 1)


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors of a few numbers: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _bounded(request):
    """The peak of this process, from the test's begin to its end."""
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = resident_bytes()
    yield
    growth = GROWTH[request.node.originalname] = max(0, peak_bytes() - before)
    assert growth < MEMORY, f"grew by {growth / 1e6:,.0f} MB"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    seconds, verdict = ROWS.get(item.originalname, (0.0, "passed"))
    if report.when == "call":
        seconds += report.duration
    ROWS[item.originalname] = seconds, verdict if report.outcome == "passed" else report.outcome


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("FUZZ_PROFILE") != "long":
        return
    terminalreporter.write_line(f"{'target':<28}{'cases':>8}{'seconds':>9}{'memory':>10}  verdict")
    for name, (seconds, verdict) in ROWS.items():
        if CASES[name]:
            terminalreporter.write_line(
                f"{name.removeprefix('test_'):<28}{CASES[name]:>8,}{seconds:>9.0f}{GROWTH.get(name, 0) / 1e6:>7,.0f} MB  {verdict}"
            )
