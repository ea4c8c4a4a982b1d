"""Schedules: transformers' own are the oracle."""

import doctest

import pytest
import torch
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from tempembed.run import optimizer as module
from tempembed.run.optimizer import adamw, schedule, set_learning_rates
from tempembed.settings.optimizer import OptimizerSettings
from tempembed.system.errors import UserError

NUM, RISING, FALLING = 50, 8, 15
THEIRS = {
    "linear": lambda it: get_linear_schedule_with_warmup(it, RISING, NUM),
    "cosine": lambda it: get_cosine_schedule_with_warmup(it, RISING, NUM),
    "constant": lambda it: get_constant_schedule_with_warmup(it, RISING),
    "wsd": lambda it: get_wsd_schedule(it, RISING, FALLING, NUM, decay_type="1-sqrt"),
}


def theirs(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = THEIRS[name](optimizer), []
    for _ in range(NUM):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", sorted(THEIRS))
@pytest.mark.parametrize("warmup", [{"warmup": RISING / NUM}, {"warmup_steps": RISING}])
def test_schedules_are_those_of_transformers(name, warmup):
    """While the rate rises ours is one step ahead: theirs begins with a step that learns nothing."""
    share = {"decay_share": FALLING / NUM} if name == "wsd" else {}
    settings = OptimizerSettings(schedule=name, **warmup, **share)
    ours, want = [schedule(step, NUM, settings) for step in range(NUM)], theirs(name)
    assert ours[RISING:] == pytest.approx(want[RISING:], abs=1e-12)
    assert ours[: RISING - 1] == pytest.approx(want[1:RISING], abs=1e-12)
    assert ours[RISING - 1] == 1


def test_the_doctests():
    failed, tried = doctest.testmod(module)
    assert tried >= 4
    assert not failed


@pytest.mark.parametrize("name", sorted(THEIRS))
@pytest.mark.parametrize("num", [1, 2, 3])
@pytest.mark.parametrize(
    "more", [{}, {"warmup": 0}, {"warmup": 1}, {"warmup_steps": 0}, {"warmup_steps": 99}]
)
def test_the_shortest_runs_learn_in_every_step(name, num, more):
    settings = OptimizerSettings(schedule=name, **more)
    assert all(0 < schedule(step, num, settings) <= 1 for step in range(num))


def test_each_group_has_its_own_peak():
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in "ab")
    optimizer = adamw([{"params": [one], "peak": 0.4}, {"params": [two], "peak": 0.1}])
    set_learning_rates(optimizer, 30, 40, OptimizerSettings(warmup_steps=20, schedule="linear"))
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.05]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosine", "decay_share": 0.3}, "--decay-share: expected --schedule wsd"),
        ({"schedule": "wsd", "decay_share": 0.0}, "--decay-share: expected > 0"),
        ({"warmup_steps": -1}, "--warmup-steps: expected >= 0"),
        ({"warmup": 1.5}, "--warmup: expected"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        OptimizerSettings(**settings)
