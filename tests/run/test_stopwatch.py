import itertools
import time

import pytest

from tempembed.run.stopwatch import Stopwatch


def ticking(*seconds):
    """A clock that says these, then no more."""
    return iter(itertools.accumulate(seconds)).__next__


def test_phases_are_means_over_laps():
    watch = Stopwatch(ticking(100, 5, 1, 2, 3, 4, 6))
    for phase in ("data", "encode", "data", "encode"):  # 5 s before the first phase belong to none
        watch.to(phase)
    watch.to("report")
    assert watch.seconds_per_lap() == {"data": (1 + 3) / 2, "encode": (2 + 4) / 2, "report": 6 / 2}


def test_a_report_in_mid_phase_loses_no_time():
    watch = Stopwatch(ticking(0, 0, 1, 2, 10, 20, 5))
    watch.to("data")
    watch.to("report")
    assert watch.seconds_per_lap() == {"data": 1, "report": 2}
    watch.to("data")
    watch.to("report")
    assert watch.seconds_per_lap() == {"report": 10 + 5, "data": 20}


def test_credit_moves_seconds_out_of_the_running_phase():
    watch = Stopwatch(ticking(0, 0, 8))
    watch.to("loss")
    watch.credit("gather", 3)
    assert watch.seconds_per_lap() == {"gather": 3, "loss": 5}


def test_phases_add_up_to_the_time_that_passed():
    began = time.perf_counter()
    watch = Stopwatch()
    for _ in range(20):
        watch.to("a")
        time.sleep(0.001)
        watch.to("b")
    means = watch.seconds_per_lap()
    passed = time.perf_counter() - began
    assert sum(means.values()) * 20 == pytest.approx(passed, rel=0.05)
    assert means["a"] >= 0.001


def test_a_lap_costs_microseconds():
    watch, best = Stopwatch(), float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            for phase in ("data", "encode", "loss", "backward", "optimizer", "report"):
                watch.to(phase)
            watch.credit("gather", 0.0)
        best = min(best, time.perf_counter() - began)
    assert best / 1000 < 50e-6  # 1 % of the fastest step that was measured, 5 ms
