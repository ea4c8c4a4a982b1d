"""A function over inputs on several processes."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tempembed.system.errors import InfrastructureError
from tempembed.system.in_order import in_order


def test_results_come_in_the_inputs_order():
    for processes in (1, 2):
        assert list(in_order(abs, range(-9, 0), processes)) == [(i, -i) for i in range(-9, 0)]


def test_a_process_that_dies_is_one_line():
    with pytest.raises(InfrastructureError, match="died, as one does where memory runs out"):
        list(in_order(os._exit, [1], 2))


def test_no_process_outlives_the_one_that_started_it():
    script = (
        "import time; from tempembed.system.in_order import in_order\nlist(in_order(time.sleep, [0, 600], 2))"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as started:
        parent = psutil.Process(started.pid)
        until = time.monotonic() + 60
        while len(children := parent.children(recursive=True)) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        started.send_signal(signal.SIGKILL)
    assert len(children) >= 2
    _, left = psutil.wait_procs(children, timeout=30)
    assert not left
