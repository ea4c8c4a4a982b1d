"""Causes: each is named for its own measurement, and a good run has none."""

import dataclasses

import pytest
import torch

from tempembed.tuning.causes import Evidence, causes
from tempembed.tuning.evidence import behind_the_right_one, share_with_copies

HEALTHY = Evidence(
    right_before_train=0.97, right_before_measured=0.98, right_after_train=0.99, kept_cosine=0.9, num_negatives=127,
    effective={0.05: 40.0}, hardest_share={0.05: 0.2}, copies=0.02, masked=0.01, num_pairs=20_000, passes=2.0, cut=0.1,
)  # fmt: skip


def test_a_healthy_run_has_none():
    assert causes(HEALTHY) == ()


@pytest.mark.parametrize(
    ("name", "change", "shown"),
    [
        ("pairs", {"right_before_train": 0.52}, "before 52% of others in the training data (half is chance), 98%"),
        ("temperature", {"effective": {0.005: 1.4, 0.1: 90.0}, "hardest_share": {0.005: 0.83, 0.1: 0.1}},
         "the temperature 0.005 is too low for this model: of 127 negatives 1.4 count, the nearest has 83%"),
        ("temperature", {"effective": {2.0: 126.5}, "hardest_share": {2.0: 0.01}},
         "the temperature 2 is too high for this model: 126 of 127 negatives count alike"),
        ("learning rate", {"right_after_train": 0.7, "kept_cosine": 0.05, "learning_rate": 0.1},
         r"the learning rate 0.1 is too high: embeddings kept a cosine of 0.05"),
        ("copies", {"copies": 0.4}, "40% of training documents have a near copy"),
        ("copies", {"masked": 0.3}, "30% of the negatives were masked"),
        ("too few pairs", {"num_pairs": 200, "passes": 60.0}, "200 pairs were each seen 60 times"),
        ("prompts", {"own_prompts": (0.04, 0.02, 0.06)}, "scored +0.040 (95 % +0.020 to +0.060) before training"),
        ("token limit", {"limit": 16, "cut": 0.8}, "80% of the training documents were cut after 16 tokens"),
    ],
)  # fmt: skip
def test_one_measurement_names_one_cause(name, change, shown):
    (cause,) = causes(dataclasses.replace(HEALTHY, **change))
    assert cause.name == name
    assert shown in cause.text
    assert cause.figures


@pytest.mark.parametrize(
    "change",
    [
        {
            "right_before_train": 0.75,
            "right_before_measured": 0.78,
        },  # hard everywhere: the data is, not the pairs
        {"kept_cosine": 0.3},  # far away, but it learned what it was shown
        {"right_after_train": 0.9},  # it lost some of its order, but is what it was
        {"num_pairs": 200, "passes": 2.0},
        {"num_pairs": 200, "passes": 60.0, "right_after_train": 0.9},  # not even learned by heart
        {"own_prompts": (0.01, -0.01, 0.03)},
        {"cut": 0.9},  # by the model's own limit, which the start has as well
    ],
)
def test_half_a_measurement_names_none(change):
    assert causes(dataclasses.replace(HEALTHY, **change)) == ()


def test_the_right_one_among_others_by_hand():
    documents = torch.eye(3)
    queries = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.6, 0.0]])  # right; right; behind both
    different = torch.arange(3)
    assert behind_the_right_one(queries, documents, different) == pytest.approx((2 + 2 + 0) / 6)
    assert behind_the_right_one(queries, documents, torch.tensor([0, 1, 0])) == pytest.approx((1 + 2 + 0) / 4)
    assert behind_the_right_one(documents, documents, torch.zeros(3)) == 0.5


def test_near_copies_by_hand():
    near = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    assert share_with_copies(near, torch.arange(3)) == pytest.approx(2 / 3)
    assert share_with_copies(near, torch.tensor([7, 7, 8])) == 0  # the same text is masked, and is no copy
