"""What runs share that needs no Ray: which reports are passed on, and work in a subprocess."""

import os
import signal
from itertools import pairwise

import pytest

from ray_jobs.capacity import Workers, check_capacity
from ray_jobs.isolate import in_subprocess
from ray_jobs.pace import TELL_SECONDS, Pace
from tempembed.system.errors import InfrastructureError, UserError


def due(steps, seconds_a_step, always=()):
    pace = Pace(always)
    reports = [
        {"step": step, "num_steps": steps, "train/seconds": step * seconds_a_step}
        for step in range(1, steps + 1)
    ]
    return [report["step"] for report in reports if pace.is_due(report)]


def test_slow_steps_are_all_passed_on():
    assert due(5, TELL_SECONDS) == [1, 2, 3, 4, 5]


def test_of_fast_ones_the_first_the_last_the_probes_and_two_a_second():
    found = due(1000, 0.01, always=(77, 78))
    assert {1, 77, 78, 1000} <= set(found)
    assert len(found) <= 10 / TELL_SECONDS + 5
    assert max(b - a for a, b in pairwise(found)) <= TELL_SECONDS / 0.01 + 1


def test_the_report_that_stops_is_passed_on():
    pace = Pace()
    report = {"step": 1, "num_steps": 9, "train/seconds": 0.1}
    assert pace.is_due(report)
    assert not pace.is_due(report | {"step": 2})
    assert pace.is_due(report | {"step": 3, "stopping": True})


def _dies():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_for_its_memory():
    with pytest.raises(InfrastructureError, match="expected its process to end well, it was killed"):
        in_subprocess(_dies)


@pytest.mark.parametrize(
    "wrong", [{"cpus_per_worker": 0.0}, {"num_workers": 0}, {"max_failures": -1}, {"collective_timeout": 0}]
)
def test_sizes_that_cannot_be(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong)).replace('_', '-')}: expected >"):
        Workers(**wrong)


def test_capacity_counts_places_on_nodes(monkeypatch):
    """Two nodes of two CPUs hold no worker that wants three."""
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}] * 2 + [{"Alive": False, "Resources": {"CPU": 8.0}}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert check_capacity(Workers(num_workers=1, cpus_per_worker=2)) == 2
    assert check_capacity(Workers(num_workers=3)) == 1
    with pytest.raises(
        UserError, match="CPU: 1 workers x 3 = 3 needed, 4 in the cluster, at most 2 on a node"
    ):
        check_capacity(Workers(num_workers=1, cpus_per_worker=3))
    with pytest.raises(UserError, match="GPU: 1 workers x 1 = 1 needed, 0 in the cluster"):
        check_capacity(Workers(num_workers=1, use_gpu=True))
