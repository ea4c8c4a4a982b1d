"""Progress as a log file, a terminal and a notebook have it."""

import sys
import types
from time import sleep

import pytest

from tempembed.system import console
from tempembed.system.console import Progress, StepProgress, in_notebook, quietly, say


def metrics(step, num_steps=100, **more):
    return {"step": step, "num_steps": num_steps, "train/loss": 0.5, "train/pairs_per_second": 1234.0,
            "train/seconds_left": 7.0, **more}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    time = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: time.now)
    return time


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(console, "draws_bars", lambda: True)


def test_a_log_file_gets_lines_at_sensible_intervals(clock, capsys):
    progress = Progress("embedded", "texts", 10_000, say)
    for _ in range(10_000):
        clock.now += 1
        progress.add(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "embedded 5 of 10,000 texts, 1 a second, 9995 s left"
    assert 50 < len(lines) < 200  # 5 s apart at first, then by a twentieth of the time
    assert "\r" not in "".join(lines)


def test_a_terminal_gets_a_bar_with_rate_and_time_left_that_goes(terminal, capsys):
    progress = Progress("embedded", "texts", 100, say)
    progress.add(40)
    say("a line above it")
    progress.add(60)
    err = capsys.readouterr().err
    assert "a line above it\n" in err
    assert "embedded:" in err
    assert "texts/s" in err
    assert not console._bars
    said = []
    Progress("embedded", "texts", 100, said.append).add(40)  # to a log of somebody else
    assert not capsys.readouterr().err


def test_a_run_says_its_first_and_last_step_and_what_is_between_now_and_then(clock, capsys):
    shown = StepProgress()
    for step in range(1, 101):
        clock.now += 0.2
        shown(metrics(step))
    steps = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert steps[0] == "1/100"
    assert steps[-1] == "100/100"
    assert 4 <= len(steps) <= 7


def test_a_run_in_a_terminal_is_a_bar_and_a_last_line(terminal, capsys):
    shown = StepProgress()
    for step in (50, 90, 100):
        shown(metrics(step))
        sleep(0.11)  # tqdm draws ten times a second
    err = capsys.readouterr().err
    assert "loss 0.5000, 1,234 pairs/s" in err
    assert err.endswith("step 100/100  loss 0.5000  1,234 pairs/s  7 s left\n")
    assert not console._bars
    shown = StepProgress()
    shown(metrics(10))
    shown(metrics(20, stopping=True))
    assert not console._bars


def test_quiet_is_quiet(terminal, capsys):
    with quietly():
        say("x")
        Progress("embedded", "texts", 100, say).add(40)
        with quietly(False):
            say("y")
    assert capsys.readouterr().err == ""
    say("z")
    assert capsys.readouterr().err == "z\n"


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    assert not in_notebook()
    kernel = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    assert in_notebook()
    terminal = type("TerminalInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: terminal))
    assert not in_notebook()
