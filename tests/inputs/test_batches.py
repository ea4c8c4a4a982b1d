import numpy as np
import pytest

from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError


def test_the_global_batch_does_not_depend_on_the_workers():
    plan = BatchPlan(num_rows=103, global_batch_size=12, seed=5)
    for step in (0, 7, 8, 20):
        whole = plan.rows(step)
        for workers in (2, 3, 4):
            parts = [plan.rows(step, rank, workers) for rank in range(workers)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_an_epoch_takes_no_row_twice_and_epochs_differ():
    plan = BatchPlan(num_rows=100, global_batch_size=10, seed=0)
    first = np.concatenate([plan.rows(step) for step in range(10)])
    second = np.concatenate([plan.rows(step) for step in range(10, 20)])
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    assert (BatchPlan(num_rows=100, global_batch_size=10, seed=1).rows(0) != first[:10]).any()


def test_bad_batches():
    with pytest.raises(UserError, match="at least one batch of 10 pairs, got 9"):
        BatchPlan(num_rows=9, global_batch_size=10, seed=0)
    with pytest.raises(UserError, match="multiple of the 3 workers, got 10"):
        BatchPlan(num_rows=90, global_batch_size=10, seed=0).rows(0, 0, 3)


def test_tokens_select_and_round_trip(tmp_path):
    lists = [[1, 2, 3], [], [4], [5, 6]]
    tokens = Tokens.from_lists(lists)
    tokens.save(tmp_path, "x")
    picked = Tokens.load(tmp_path, "x").select(np.array([3, 1, 0, 3]))
    got = [picked.ids[a:b].tolist() for a, b in zip(picked.offsets[:-1], picked.offsets[1:], strict=True)]
    assert got == [[5, 6], [], [1, 2, 3], [5, 6]]


def test_tokens_concatenate():
    joined = Tokens.concatenate([Tokens.from_lists([[1], [2, 3]]), Tokens.from_lists([[], [4]])])
    assert (joined.ids.tolist(), joined.offsets.tolist()) == ([1, 2, 3, 4], [0, 1, 3, 3, 4])
    assert len(Tokens.concatenate([])) == 0


def test_bags_count_each_texts_tokens(tmp_path):
    lists = [[5, 3, 5, 5], [], [0], [9, 0, 9]]
    bags = Tokens.from_lists(lists).as_bags()
    bags.save(tmp_path, "x")
    picked = Tokens.load(tmp_path, "x").select(np.array([3, 1, 0]))
    assert picked.ids.tolist() == [0, 9, 3, 5]
    assert picked.counts.tolist() == [1, 2, 1, 3]
    assert picked.offsets.tolist() == [0, 2, 2, 4]
    assert len(Tokens.from_lists([[], []]).as_bags()) == 2
