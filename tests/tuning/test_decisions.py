"""Pareto ranks, goals, who takes an alias, and what is recommended: pure functions."""

import random

import pytest
import torch

from tempembed.system.errors import UserError
from tempembed.tuning.goals import best_row, check_goals, goal_values
from tempembed.tuning.pareto import pareto_ranks
from tempembed.tuning.promotion import decide, standing
from tempembed.tuning.recommend import recommend_model
from tests.rows import evaluation, score_row

R = 400


def measured(items_by_spec, fingerprint="same"):
    """A report as `evaluate` makes it, from a score for each query: {(spec, bytes): scores}."""
    picks = torch.randint(200, (R, 200), generator=torch.Generator().manual_seed(0))
    rows, replicates = [], {}
    full = torch.tensor(items_by_spec["prefix:64+float32", 256]).mean().item()
    for (spec, size), items in items_by_spec.items():
        items = torch.tensor(items)
        replicates[f"retrieval|{spec}"] = items[picks].mean(1)
        rows.append(
            score_row(
                spec=spec, codec=spec.split("+")[1], dim=64, bytes_per_vector=size, score=items.mean().item(),
                retention=items.mean().item() / full,
            )
        )  # fmt: skip
    return evaluation(rows, replicates, width=64, fingerprint=fingerprint)


def queries(mean, seed=0, noise=0.3):
    rng = random.Random(seed)
    return [mean + rng.uniform(-noise, noise) for _ in range(200)]


def model(full, small, **more):
    return measured(
        {("prefix:64+float32", 256): queries(full), ("prefix:64+int8", 64): queries(small),
         ("prefix:64+binary", 8): queries(small - 0.1)}, **more,
    )  # fmt: skip


def test_pareto_ranks_against_the_definition():
    rng = random.Random(0)
    points = [tuple(rng.randrange(6) for _ in range(3)) for _ in range(60)]
    left, expected, rank = set(range(60)), {}, 0
    while left:  # by the definition, one front after the other
        rank += 1
        front = {
            i for i in left
            if not any(
                all(a >= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i] for j in left
            )
        }  # fmt: skip
        expected |= dict.fromkeys(front, rank)
        left -= front
    assert pareto_ranks(points) == [expected[i] for i in range(60)]
    assert max(expected.values()) > 3


def test_goals():
    report = model(0.7, 0.6).report
    assert goal_values(report, ["retrieval", "bytes-64", "bytes-63"]) == pytest.approx(
        [0.7, 0.6, 0.5], abs=0.03
    )
    assert best_row(report, "bytes-300").spec == "prefix:64+float32"
    with pytest.raises(UserError, match="got none for clustering; clustering needs labels"):
        goal_values(report, ["retrieval", "clustering"])
    with pytest.raises(UserError, match="got none for bytes-7; raise the budget"):
        goal_values(report, ["bytes-7"])
    for wrong in ([], ["bytes-0"], ["bytes-x"], ["speed"], ["retrieval", "retrieval"]):
        with pytest.raises(UserError, match="--goals: expected some of retrieval clustering bytes-N"):
            check_goals(wrong)


def test_an_alias_moves_only_to_what_is_better_by_the_paired_interval():
    old = standing("old", model(0.70, 0.60), "bytes-64")
    assert decide("bytes-64", old, None).promote
    # the same queries' noise on both sides: a paired difference of 0.01 is certain, unpaired it would drown
    better = decide("bytes-64", standing("new", model(0.70, 0.61), "bytes-64"), old)
    assert better.promote
    assert better.ci[0] > 0
    assert "new takes bytes-64 from old: prefix:64+int8" in better.why
    worse = decide("bytes-64", standing("new", model(0.70, 0.59), "bytes-64"), old)
    assert not worse.promote
    assert "does not take bytes-64" in worse.why
    assert worse.why.endswith("is worse")
    # other noise: the mean is higher, the interval holds zero
    noisy = measured(
        {("prefix:64+float32", 256): queries(0.7), ("prefix:64+int8", 64): queries(0.605, seed=5)}
    )
    unsure = decide("bytes-64", standing("new", noisy, "bytes-64"), old)
    assert not unsure.promote
    assert unsure.ci[0] <= 0 <= unsure.ci[1]
    assert "cannot be told from it" in unsure.why
    assert not decide("bytes-64", old, old).promote
    with pytest.raises(ValueError, match="scores on one test"):
        decide("bytes-64", standing("new", model(0.9, 0.9, fingerprint="other"), "bytes-64"), old)
    assert standing("old", model(0.7, 0.6), "bytes-7") is None


def test_recommendation():
    models = {"one": model(0.70, 0.60), "two": model(0.65, 0.64)}
    found = recommend_model(models, 64)
    assert (found.best.model, found.full.model, found.runner_up.model) == ("two", "one", "one")
    assert found.lost_ci[0] < 1 - 0.64 / 0.70 < found.lost_ci[1]
    assert "For 64 bytes: two with prefix:64+int8 (64 bytes)" in found.text()
    assert "Runner-up: one with prefix:64+int8" in found.text()
    # the alias's holder is the answer, also where another has a higher score
    assert recommend_model(models, 64, holder="one").best.model == "one"
    alone = recommend_model({"one": models["one"]}, 64)
    assert (alone.runner_up.model, alone.runner_up.row.spec) == ("one", "prefix:64+binary")
    assert recommend_model({"one": models["one"]}, 8).runner_up is None
    with pytest.raises(UserError, match="--bytes 7: expected at least 8 bytes"):
        recommend_model(models, 7)
