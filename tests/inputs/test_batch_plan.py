"""Batches without a text twice, from one source, within a budget."""

import tracemalloc

import numpy as np
import pytest

from tempembed.data.text_ids import text_ids
from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.chunks import length_sorted_chunks
from tempembed.system.errors import UserError


def repeats(batch, ids):
    return len(batch) - len(np.unique(ids[batch]))


@pytest.mark.parametrize("copies", [2, 7, 15])
def test_no_text_comes_twice_in_a_batch(copies):
    num, batch = 3000, 100
    random = np.random.default_rng(0)
    queries, documents = np.arange(num) // copies, random.permutation(num) // copies
    plan = BatchPlan(num_rows=num, global_batch_size=batch, seed=1, ids=(queries, documents))
    for epoch in (0, 1):
        order = plan.order(epoch)
        assert len(np.unique(order)) == len(order) == num
        assert plan.repeats(epoch) == 0
        for one in order.reshape(-1, batch):
            assert repeats(one, queries) == repeats(one, documents) == 0
    assert plan.order(0).tolist() != plan.order(1).tolist()


def test_without_the_repair_there_would_be_repeats():
    documents = np.arange(3000) // 7
    order = BatchPlan(num_rows=3000, global_batch_size=100, seed=1).order(0)
    assert sum(repeats(one, documents) for one in order.reshape(-1, 100)) > 50


def test_what_cannot_be_spread_is_counted():
    documents = np.where(np.arange(1000) < 200, 7, np.arange(1000))  # 200 rows of one text, 10 batches
    plan = BatchPlan(num_rows=1000, global_batch_size=100, seed=0, ids=(documents,))
    assert plan.repeats(0) == sum(repeats(one, documents) for one in plan.order(0).reshape(-1, 100)) == 190


def test_the_order_depends_on_seed_and_epoch_only():
    ids = (np.arange(500) // 3,)
    plan, again = (BatchPlan(num_rows=500, global_batch_size=20, seed=4, ids=ids) for _ in range(2))
    plan.order(0)
    np.testing.assert_array_equal(plan.rows(60), again.rows(60))  # epoch 2, without the others
    assert (plan.order(2) != BatchPlan(num_rows=500, global_batch_size=20, seed=5, ids=ids).order(2)).any()


def test_single_source_batches():
    sources = np.repeat([0, 1, 2], [130, 55, 9])
    plan = BatchPlan(num_rows=194, global_batch_size=10, seed=0, sources=sources, single_source=True)
    batches = plan.order(0).reshape(-1, 10)
    assert len(batches) == plan.steps_per_epoch == 13 + 5
    assert all(len(np.unique(sources[batch])) == 1 for batch in batches)
    assert len(np.unique(batches)) == batches.size
    first = [sources[batch[0]] for batch in batches]
    assert first != sorted(first)
    with pytest.raises(UserError, match="at least one batch of 200 pairs from one source, got 130"):
        BatchPlan(num_rows=194, global_batch_size=200, seed=0, sources=sources, single_source=True)


def test_a_plan_of_a_million_rows_takes_little_memory():
    num = 1_000_000
    ids = (np.arange(num, dtype=np.int64), np.arange(num, dtype=np.int64) // 3)
    tracemalloc.start()
    plan = BatchPlan(num_rows=num, global_batch_size=8192, seed=0, ids=ids)
    assert plan.repeats(0) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, f"{peak / 1e6:.0f} MB"


def test_chunks_keep_to_the_budget_and_hold_every_text_once():
    lengths = np.random.default_rng(0).integers(1, 60, 400)
    chunks = length_sorted_chunks(lengths, 100)
    assert sorted(np.concatenate(chunks)) == list(range(400))
    assert all(len(chunk) * lengths[chunk].max() <= 100 for chunk in chunks)
    padded = sum(len(chunk) * lengths[chunk].max() for chunk in chunks)
    assert padded < 1.1 * lengths.sum()
    assert [len(chunk) for chunk in length_sorted_chunks(np.array([500, 500]), 100)] == [1, 1]


def test_text_ids_see_words_not_white_space():
    a, b, c, d = text_ids(["return  x\n", "return x", "return X", ""])
    assert a == b
    assert len({a, c, d}) == 3
