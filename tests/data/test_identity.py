"""One space of ids over queries, documents and hard negatives: in the plan, in what is known, across the hold-out."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
import torch

from tempembed.data.pairs import Pairs
from tempembed.data.partners import Partners
from tempembed.data.split import holdout, normalise
from tempembed.data.text_ids import text_ids
from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.tokens import Tokens
from tempembed.settings.train import TrainSettings
from tempembed.stages.pair_data import PairData
from tempembed.stages.prepare import prepare


def both_orders(num, left="left {}", right="right {}"):
    pairs = [(left.format(i), right.format(i)) for i in range(num)]
    return pairs + [(b, a) for a, b in pairs]


def table(pairs, negatives=None):
    columns = {"query": [q for q, _ in pairs], "document": [d for _, d in pairs]}
    if negatives is not None:
        columns["hard_negatives"] = pa.array(negatives, pa.list_(pa.large_string()))
    return pa.table(columns)


def texts(part, *names):
    found = {normalise(text) for name in names or ("query", "document") for text in part[name].to_pylist()}
    if "hard_negatives" in part.column_names and not names:
        found |= {normalise(text) for row in part["hard_negatives"].to_pylist() for text in row}
    return found


# What the data pairs with a text


@pytest.mark.parametrize("seed", range(4))
def test_partners_are_those_of_all_rows(seed, tmp_path):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(-9, 9, 60), rng.integers(-9, 9, 60)
    Partners.of(left, right).save(tmp_path, "x")
    found = Partners.load(tmp_path, "x")
    assert isinstance(found.partners, np.memmap)
    asked = rng.integers(-12, 12, 30)
    places, partners = found.lookup(asked)
    want = {int(text): {int(r) for q, r in zip(left, right, strict=True) if q == text} for text in asked}
    for place, text in enumerate(asked.tolist()):
        several = want[text] if len(want[text]) > 1 else set()
        got = partners[places == place].tolist()
        assert set(got) == several
        assert len(got) == len(several)
    assert places.tolist() == sorted(places)


def test_partners_of_nothing_and_of_one_to_one():
    for num in (0, 1, 5):
        found = Partners.of(np.arange(num), np.arange(num) + 9)
        assert len(found) == 0
        assert [len(side) for side in found.lookup(np.arange(3))] == [0, 0]
    copies = Partners.of(np.array([4, 4]), np.array([7, 7]))  # one pair twice: white space is no other answer
    assert len(copies) == 0


def test_partners_of_a_million_pairs_take_little_memory():
    left, right = np.arange(1_000_000) // 3, np.arange(1_000_000)
    tracemalloc.start()
    found = Partners.of(left, right)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 333_333
    assert found.lookup(np.array([5]))[1].tolist() == [15, 16, 17]
    assert peak < 100e6, f"{peak / 1e6:.0f} MB"


# Batches


def shared_rows(batch, queries, documents):
    """Rows of the batch that share a text with an earlier one, whatever the roles."""
    seen: set[int] = set()
    num = 0
    for row in batch:
        mine = {int(queries[row]), int(documents[row])}
        num += bool(mine & seen)
        seen |= mine
    return num


def test_rows_that_share_a_text_in_any_role_are_spread():
    left, right = np.arange(300), np.arange(300) + 1000
    queries, documents = np.concatenate([left, right]), np.concatenate([right, left])
    plan = BatchPlan(num_rows=600, global_batch_size=60, seed=1, ids=(np.stack([queries, documents]),))
    for epoch in (0, 1):
        order = plan.order(epoch)
        assert sorted(order) == list(range(600))
        assert plan.repeats(epoch) == 0
        assert sum(shared_rows(batch, queries, documents) for batch in order.reshape(-1, 60)) == 0
    apart = BatchPlan(num_rows=600, global_batch_size=60, seed=1, ids=(queries, documents))
    assert sum(shared_rows(batch, queries, documents) for batch in apart.order(0).reshape(-1, 60)) > 5


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_in_a_batch_is_counted_in_any_role(seed):
    rng = np.random.default_rng(seed)
    queries, documents = rng.integers(0, 40, 200), rng.integers(0, 40, 200)
    plan = BatchPlan(num_rows=200, global_batch_size=50, seed=seed, ids=(np.stack([queries, documents]),))
    want = sum(shared_rows(batch, queries, documents) for batch in plan.order(0).reshape(-1, 50))
    assert plan.repeats(0) == want > 0


def test_pairs_in_both_orders_in_one_batch():
    ids = np.stack([np.array([1, 2, 3, 4]), np.array([2, 1, 4, 3])])
    assert BatchPlan(num_rows=4, global_batch_size=4, seed=0, ids=(ids,)).repeats(0) == 2


def test_a_row_whose_query_is_its_document_repeats_nothing():
    ids = np.stack([np.arange(40), np.arange(40)])
    plan = BatchPlan(num_rows=40, global_batch_size=10, seed=0, ids=(ids,))
    assert plan.repeats(0) == 0
    same = BatchPlan(num_rows=40, global_batch_size=10, seed=0)
    np.testing.assert_array_equal(plan.order(0), same.order(0))


def test_roles_that_share_no_text_are_planned_as_before():
    rng = np.random.default_rng(0)
    queries, documents = np.arange(2000) // 7, rng.permutation(2000) // 5 + 10_000
    one = BatchPlan(num_rows=2000, global_batch_size=64, seed=1, ids=(np.stack([queries, documents]),))
    two = BatchPlan(num_rows=2000, global_batch_size=64, seed=1, ids=(queries, documents))
    for epoch in range(3):
        np.testing.assert_array_equal(one.order(epoch), two.order(epoch))
        assert one.repeats(epoch) == two.repeats(epoch)


# The hold-out


@pytest.mark.parametrize("seed", range(3))
def test_with_every_pair_in_both_orders_no_held_out_text_is_in_training(seed):
    train, test = holdout(table(both_orders(200)), 40, seed=seed)
    assert len(test) == 40
    assert len(train) == 360
    assert not texts(train) & texts(test)


def test_a_chain_through_roles_stays_together():
    pairs = [(f"text {i}", f"text {i + 1}") for i in range(5)]  # each document the next one's query
    pairs += [(f"Query  {i}!", f"answer {i}") for i in range(60)]
    pairs += [(f"ANSWER {i}", f"third {i}") for i in range(20)]
    train, test = holdout(table(pairs), 30)
    assert not texts(train) & texts(test)
    chain = [part for part in (train, test) if texts(part) & {f"text {i}" for i in range(6)}]
    assert len(chain) == 1
    assert not {"text 0"} <= texts(test)  # larger than a tenth of the test: it stays in training


def test_hard_negatives_of_the_other_side_are_left_out_and_counted():
    pairs = [(f"query {i}", f"document {i}") for i in range(100)]
    first = holdout(table(pairs), 20)
    test_rows = sorted(int(q.split()[1]) for q in first[1]["query"].to_pylist())
    train_rows = sorted(set(range(100)) - set(test_rows))
    own, other = train_rows[0], train_rows[1]
    held, held_too = test_rows[0], test_rows[1]
    negatives = [[f"wrong {i}"] for i in range(100)]
    negatives[own] = [f"DOCUMENT {held}!", f"document {other}", f"query {held_too}", "on both sides", "mine"]
    negatives[other] = []
    negatives[held] = [f"document {own}", f"document {held_too}", "On both  sides", f"Query {other}"]
    said = []
    train, test = holdout(table(pairs, negatives), 20, say=said.append)
    assert [test["query"].to_pylist(), train["query"].to_pylist()] == [
        first[1]["query"].to_pylist(), first[0]["query"].to_pylist()
    ]  # fmt: skip
    found = {
        row["query"]: row["hard_negatives"] for part in (train, test) for row in part.to_pylist()
    }  # fmt: skip
    assert found[f"query {own}"] == [f"document {other}", "mine"]
    assert found[f"query {other}"] == []
    assert found[f"query {held}"] == [f"document {held_too}", "On both  sides"]
    assert found[f"query {train_rows[5]}"] == [f"wrong {train_rows[5]}"]
    assert not texts(train) & texts(test)
    assert said == [
        f"left out 3 of {78 + 5} hard negatives of training: the other side has their texts too",
        f"left out 2 of {19 + 4} hard negatives of the test: the other side has their texts too",
    ]


def test_without_shared_hard_negatives_nothing_is_left_out_and_nothing_said():
    pairs = [(f"query {i}", f"document {i}") for i in range(100)]
    negatives = [[f"wrong {i}", f"worse {i}"][: i % 3] for i in range(100)]
    said = []
    train, test = holdout(table(pairs, negatives), 20, say=said.append)
    assert said == []
    rows = {row["query"]: row["hard_negatives"] for part in (train, test) for row in part.to_pylist()}
    assert [rows[q] for q, _ in pairs] == negatives


def test_hard_negatives_mined_from_all_documents_keep_the_sides_apart():
    rng = np.random.default_rng(0)
    pairs = [(f"query {i}", f"document {i}") for i in range(200)]
    negatives = [[f"document {j}" for j in rng.integers(0, 200, 3)] for _ in range(200)]
    train, test = holdout(table(pairs, negatives), 40)
    assert not texts(train) & texts(test)
    assert sum(map(len, train["hard_negatives"].to_pylist())) > 300


# Prepared data


@pytest.fixture
def settings(tmp_path):
    def make(rows, **more):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return TrainSettings.of(
            data=str(path), **{"width": 16, "vocabulary": 120, "batch_size": 4, "objective": "infonce:0.1", **more}
        )  # fmt: skip

    return make


def row(query, document, *negatives):
    return {"query": query, "document": document, "hard_negatives": list(negatives)}


ROWS = [
    row("open the box", "def open()", "def  open()\n", "shut the box"),
    row("open  the box", "def open_it()"),  # the same query, but for white space
    row("shut the box", "def shut()"),
    row("def shut()", "shut the box", "open the box"),
    row("sort it", "def sort()"),
    row("sort them", "def sort()"),
    row("paint", "def paint()"),
    row("count", "def count()"),
]


def test_what_is_known_is_prepared_by_text_whatever_the_white_space(settings):
    prepared = prepare(settings(ROWS))
    opened, box, sort = text_ids(["open the box", "def open()", "def sort()"])
    answers, askers = prepared.answers, prepared.askers
    assert answers.texts.tolist() == [opened]
    assert set(answers.partners.tolist()) == {box, text_ids(["def open_it()"])[0]}
    assert askers.texts.tolist() == [sort]
    assert prepared.text_ids["hard_negatives"][:, 1].tolist() == [0, 0]
    assert prepared.text_ids["hard_negatives"][0, 0] == box


@pytest.mark.parametrize("direction", ["query-to-document", "both"])
def test_a_step_is_given_what_the_data_knows_of_its_rows(settings, direction):
    data = PairData(one := settings(ROWS, direction=direction), prepare(one), torch.device("cpu"))
    ids = data.ids(0, np.array([1, 6]))
    rows, texts = ids.known
    assert rows.tolist() == [0, 0]
    assert set(texts.tolist()) == set(text_ids(["def open()", "def open_it()"]).tolist())


def test_in_document_to_query_it_is_given_the_queries_of_its_documents(settings):
    rows = [{"query": r["query"], "document": r["document"]} for r in ROWS]
    data = PairData(one := settings(rows, direction="document-to-query"), prepare(one), torch.device("cpu"))
    places, texts = data.ids(0, np.array([0, 4])).known
    assert places.tolist() == [1, 1]
    assert set(texts.tolist()) == set(text_ids(["sort it", "sort them"]).tolist())


def test_nothing_is_looked_for_where_nothing_can_be_masked(settings):
    rows = [
        {"query": f"open {i // 2}", "document": f"def open_{i}()"} for i in range(24)
    ]  # several answers each
    data = PairData(one := settings(rows, batch_size=8), prepare(one), torch.device("cpu"))
    assert data.repeats(0) == 0
    assert data.ids(0, np.arange(8)) is None
    more = [*rows, {"query": "open all", "document": "def open_0()"}]  # and a document of several queries
    data = PairData(one := settings(more, batch_size=8), prepare(one), torch.device("cpu"))
    assert data.repeats(0) == 0
    assert data.ids(0, np.arange(8)) is not None


def test_both_orders_of_a_pair_are_held_out_together(settings):
    rows = [{"query": a, "document": b} for a, b in both_orders(40)]
    prepared = prepare(settings(rows, hold_out=0.25))
    task, *_ = prepared.evaluation()
    ids = set(np.concatenate([prepared.text_ids["query"], prepared.text_ids["document"]]).tolist())
    assert not ids & set(text_ids([*task.queries, *task.documents]).tolist())
    assert sorted(task.queries) == sorted(task.documents)
    assert len(task.queries) == 20


def test_left_out_hard_negatives_are_said_when_the_data_is_prepared(settings):
    rows = [row(f"query {i}", f"document {i}", f"document {(i + 1) % 40}") for i in range(40)]
    said = []
    prepared = prepare(settings(rows, hold_out=0.25), said.append)
    assert sum("hard negatives of training" in line for line in said) == 1
    assert sum("hard negatives of the test" in line for line in said) == 1
    task, *_ = prepared.evaluation()
    there = set(prepared.text_ids["hard_negatives"].reshape(-1).tolist())
    assert not there & set(text_ids([*task.queries, *task.documents]).tolist())
    assert not prepared.has_negative.all()


def test_texts_where_they_are_present(tmp_path):
    spread = Tokens.from_lists([[5, 6], [7]]).at(np.array([False, True, False, True, False]))
    spread.save(tmp_path, "x")
    picked = Tokens.load(tmp_path, "x").select(np.array([3, 0, 1]))
    assert (picked.ids.tolist(), picked.offsets.tolist()) == ([7, 5, 6], [0, 1, 1, 3])
    bags = Tokens.from_lists([[5, 5]]).as_bags().at(np.array([False, True]))
    assert bags.select(np.array([1])).counts.tolist() == [2]


def test_the_same_text_is_one_document_and_one_query_of_the_test():
    from tempembed.evaluation.corpus import corpus_from_pairs

    pairs = [("open it", "def open()"), ("open  it", "def open_it()"), ("shut", "def  open()\n"), ("x", "y")]
    task = corpus_from_pairs(Pairs(table=table(pairs), source="s"))
    assert task.queries == ["open it", "shut", "x"]
    assert task.documents == ["def open()", "def open_it()", "y"]
    assert task.relevant == [[0, 1], [0], [2]]
