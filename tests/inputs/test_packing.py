"""Documents fill sequences, no token is lost or twice, and batches are a function of (seed, epoch, position)."""

import numpy as np
import pytest

from tempembed.inputs.growing import GrowingPlan, steps_for
from tempembed.inputs.packing import best_fit, pack
from tempembed.inputs.sequences import Source, masked_texts
from tempembed.system.errors import UserError
from tests.masked import toy_shards


def documents(num, mean=96.0, spread=0.6):
    draw = np.random.default_rng(0)
    return np.maximum(1, draw.lognormal(np.log(mean) - spread**2 / 2, spread, num)).astype(np.int64)


@pytest.mark.parametrize(
    "lengths",
    [documents(20_000), np.full(20_000, 96), documents(300, 3000, 1.2)],
    ids=["mixed", "alike", "long"],
)
@pytest.mark.parametrize("length", [128, 256])
def test_sequences_are_full_and_every_token_is_in_one(lengths, length):
    packing = pack(lengths, length, special=2)
    assert packing.text_share >= 0.99
    in_sequence = np.add.reduceat(packing.lengths + 2, packing.ends[:-1])
    assert in_sequence.max() <= length
    assert packing.lengths.min() > 0
    order = np.lexsort((packing.starts, packing.documents))
    found, starts, sizes = (each[order] for each in (packing.documents, packing.starts, packing.lengths))
    first = np.append(True, found[1:] != found[:-1])
    assert np.array_equal(
        starts, np.where(first, 0, np.append(0, (starts + sizes)[:-1]))
    )  # pieces follow each other
    assert np.array_equal(np.bincount(found, sizes), lengths)
    again = pack(lengths, length, special=2)
    assert np.array_equal(again.documents, packing.documents)
    assert np.array_equal(again.ends, packing.ends)


def test_few_pieces_are_cut():
    lengths = documents(20_000)
    packing = pack(lengths, 512, special=2)
    assert len(packing.lengths) < 1.01 * len(lengths)


def test_a_document_without_tokens_is_in_no_sequence_and_none_gives_none():
    packing = pack(np.array([0, 5, 0, 3]), 16, special=2)
    assert packing.documents.tolist() == [1, 3]
    assert len(packing) == 1
    assert len(pack(np.zeros(0, np.int64), 16)) == len(pack(np.zeros(3, np.int64), 16)) == 0


def test_the_fullest_bin_that_takes_it():
    bins, num = best_fit(np.array([6, 5, 4, 3, 2]), 10)
    assert num == 2
    assert np.bincount(bins, [6, 5, 4, 3, 2]).tolist() == [10, 10]


def test_sequences_have_special_tokens_around_each_piece(tmp_path):
    shards = toy_shards(tmp_path, 40)
    packing = pack(shards.lengths, 32, special=2)
    source = Source(shards=shards, before=(2,), after=(3,), padding=0)
    rows = np.array([3, 0])
    sequences = source.sequences(packing, rows)
    for row, ids in zip(rows, sequences.ids_RT, strict=True):
        pieces = slice(packing.ends[row], packing.ends[row + 1])
        parts = [
            [2, *shards.spans(*(np.array([x]) for x in piece)).ids, 3]
            for piece in zip(
                packing.documents[pieces], packing.starts[pieces], packing.lengths[pieces], strict=True
            )
        ]
        want = [token for part in parts for token in part]
        assert ids.tolist() == want + [0] * (32 - len(want))
    nothing = np.zeros(sequences.ids_RT.shape, bool)
    nothing[0, 4] = True
    in_order, by_length = (
        masked_texts(sequences, sequences.ids_RT, nothing, by_length=how) for how in (False, True)
    )
    assert np.array_equal(in_order.tokens.ids, sequences.ids_RT[sequences.filled()])
    sizes = np.diff(by_length.tokens.offsets)
    assert (np.diff(sizes) <= 0).all()
    assert (
        by_length.tokens.ids[by_length.places].tolist()
        == by_length.targets.tolist()
        == [sequences.ids_RT[0, 4]]
    )
    assert sorted(sizes) == sorted(np.diff(in_order.tokens.offsets))
    shorter = sequences.shorter(5)
    assert shorter.texts.max() <= 5
    assert shorter.texts.sum() == sequences.texts.sum()
    assert np.array_equal(shorter.filled(), sequences.filled())


@pytest.mark.parametrize("warmup", [0, 5])
def test_batches_are_the_same_for_any_number_of_workers_and_lose_no_row(warmup):
    plan = GrowingPlan(num_rows=50, global_batch_size=16, warmup_steps=warmup, seed=1)
    sizes = [plan.size(step) for step in range(12)]
    assert sizes == sorted(sizes)
    assert sizes[0] == (2 if warmup else 16)
    assert sizes[warmup:] == [16] * (12 - warmup)
    seen = np.concatenate([plan.rows(step) for step in range(12)])
    assert plan.start(12) == len(seen)
    for epoch in range(len(seen) // 50):
        assert sorted(seen[50 * epoch : 50 * epoch + 50]) == list(range(50))
    assert seen[:50].tolist() != seen[50:100].tolist()
    again = GrowingPlan(num_rows=50, global_batch_size=16, warmup_steps=warmup, seed=1)
    for step in (11, 3, 7):
        for workers in (1, 2):
            parts = [again.rows(step, rank, workers) for rank in range(workers)]
            assert np.concatenate(parts).tolist() == plan.rows(step).tolist()
    assert [len(again.rows(7, rank, 3)) for rank in range(3)] == [5, 5, 6]


def test_a_corpus_smaller_than_a_batch_and_a_batch_smaller_than_the_workers_are_refused():
    with pytest.raises(UserError, match="at least one batch of 16 sequences, got text for 15"):
        GrowingPlan(num_rows=15, global_batch_size=16)
    with pytest.raises(UserError, match="each of the 4 workers, got 2 at step 1"):
        GrowingPlan(num_rows=50, global_batch_size=16, warmup_steps=4).rows(0, 0, 4)


def test_steps_for_so_many_rows():
    assert steps_for(1000, 10, 0.0) == (100, 0)
    steps, growing = steps_for(1000, 16, 0.5)
    plan = GrowingPlan(num_rows=16, global_batch_size=16, warmup_steps=growing)
    assert growing == round(0.5 * steps)
    assert 1000 <= plan.start(steps) < 1000 + 3 * 16
