"""Weighted sources: how often rows are drawn, in which order, and never a text twice in a batch."""

import time

import numpy as np
import pytest

from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.mixture import apportioned
from tempembed.system.errors import UserError


def plan(sizes, shares, batch=32, **options):
    sources = np.repeat(np.arange(len(sizes)), sizes)
    return BatchPlan(
        num_rows=len(sources), global_batch_size=batch, seed=3, sources=sources, shares=tuple(shares),
        ids=(np.arange(len(sources)),), **options,
    )  # fmt: skip


def drawn(plan, epochs):
    """How often each row is drawn in the first epochs."""
    return np.bincount(np.concatenate([plan.order(epoch) for epoch in range(epochs)]), minlength=plan.num_rows)  # fmt: skip


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2, 0.1), (0.98, 0.01, 0.01), (0.25, 0.0, 0.75)])
def test_apportioned_is_websters_rule(shares):
    share, counts = np.array(shares), np.zeros(len(shares))
    found = apportioned(shares, np.arange(500))
    for row in found:
        assert row.tolist() == counts.tolist()
        with np.errstate(divide="ignore"):
            counts[np.argmin((counts + 0.5) / share)] += 1  # the next seat, one by one


@pytest.mark.parametrize("single_source", [False, True])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2), (0.1, 0.9)])
def test_a_source_is_drawn_by_its_weight_and_all_its_rows_before_any_again(shares, single_source):
    made = plan((700, 100), shares, single_source=single_source)
    for epochs in (1, 2, 5):
        times, steps = drawn(made, epochs), epochs * made.steps_per_epoch
        unit = 32 if single_source else 1  # whole batches, or rows
        for rows, share in zip((times[:700], times[700:]), shares, strict=True):
            assert abs(rows.sum() - share * steps * 32) <= unit
            assert rows.max() - rows.min() <= 1
    assert made.steps_per_epoch == 800 // 32


def test_mixed_batches_have_each_sources_share():
    made = plan((700, 60, 40), (0.5, 0.3, 0.2))
    for batch in made.order(4).reshape(-1, 32):
        counts = np.bincount(made.sources[batch], minlength=3)
        assert np.abs(counts - 32 * np.array([0.5, 0.3, 0.2])).max() < 2


def test_single_source_batches_are_of_one():
    made = plan((700, 100), (0.3, 0.7), single_source=True)
    batches = made.order(1).reshape(-1, 32)
    assert all(len(np.unique(made.sources[batch])) == 1 for batch in batches)
    firsts = made.sources[batches[:, 0]].tolist()
    assert firsts != sorted(firsts)
    with pytest.raises(UserError, match="at least one batch of 32 pairs from each source, got one with 20 pairs"):  # fmt: skip
        plan((700, 20), (0.5, 0.5), single_source=True)


@pytest.mark.parametrize("single_source", [False, True])
def test_no_text_comes_twice_in_a_batch_though_rows_are_repeated(single_source):
    rng = np.random.default_rng(0)
    sources, texts = np.repeat([0, 1], [900, 100]), rng.integers(0, 500, 1000)
    made = BatchPlan(
        num_rows=1000, global_batch_size=20, seed=0, sources=sources, shares=(0.3, 0.7), ids=(texts,), single_source=single_source,
    )  # fmt: skip
    for epoch in range(3):
        batches = made.order(epoch).reshape(-1, 20)
        again = sum(20 - len(np.unique(texts[batch])) for batch in batches)
        assert again == made.repeats(epoch) == 0
        assert max(np.bincount(made.order(epoch))) > 1  # rows are drawn again in an epoch


def test_where_the_data_leaves_no_choice_copies_are_counted():
    made = plan((300, 4), (0.5, 0.5))  # 16 rows of 4 in each batch
    batches = made.order(0).reshape(-1, 32)
    copies = sum(32 - len(np.unique(batch)) for batch in batches)
    assert made.repeats(0) == copies == 12 * len(batches)


def test_the_order_depends_on_seed_and_epoch_only():
    made, again = (plan((700, 100), (0.4, 0.6)) for _ in range(2))
    made.order(0)
    last = 7 * made.steps_per_epoch + 3
    np.testing.assert_array_equal(made.rows(last), again.rows(last))
    np.testing.assert_array_equal(np.concatenate([made.rows(last, rank, 4) for rank in range(4)]), made.rows(last))  # fmt: skip


def test_a_million_rows_are_planned_in_two_seconds():
    num = 1_000_000
    ids = (np.arange(num), np.arange(num) // 3)
    sources = (np.arange(num) >= 100_000).astype(np.int32)
    began = time.process_time()
    made = BatchPlan(num_rows=num, global_batch_size=1024, seed=0, ids=ids, sources=sources, shares=(0.6, 0.4))  # fmt: skip
    made.order(0)
    assert time.process_time() - began < 2
