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
from tests.conftest import ROOT


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


def test_a_script_without_a_guard_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from math import sqrt\nfrom tempembed.system.in_order import in_order\n"
        "print([root for _, root in in_order(sqrt, [1.0, 4.0, 9.0], 2)])\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.stdout == "[1.0, 2.0, 3.0]\n", done.stderr[-500:]
