"""Dev pairs: neither trained on nor the test, whatever role a text has."""

import json

import pytest

from tempembed.data.split import normalise
from tempembed.evaluation.corpus import Corpus
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.dev import default_size
from tempembed.stages.prepare import prepare, training_pairs
from tempembed.system.errors import UserError
from tests.conftest import make_rows


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))

    def put(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return put


@pytest.fixture
def settings(put):
    return TrainSettings.of(
        data=put("train.jsonl", make_rows(320)), eval_data=put("test.jsonl", make_rows(60, seed=1)),
        batch_size=16, vocabulary=300, width=16,
    )  # fmt: skip


def texts(corpus: Corpus) -> set[str]:
    return {normalise(text) for text in (*corpus.queries, *corpus.documents)}


def test_a_share_is_held_out_and_no_text_is_on_two_sides(settings):
    one = with_settings(settings, eval_data=None, hold_out=0.2, dev_hold_out=0.25)
    said = []
    prepared = prepare(one, said.append)
    dev, queries, documents = prepared.dev()
    test = prepared.evaluation()[0]
    assert prepared.meta["num_pairs"] == 320 - 64 - 64  # a fifth, then a quarter of the rest
    assert "held out 64 of 256 pairs to choose by (--dev-hold-out, --dev-data)" in said
    assert (len(queries), len(documents)) == (len(dev.queries), len(dev.documents)) == (64, 64)
    assert any(dev.labels)
    assert not texts(dev) & texts(test)
    all_pairs = training_pairs(one)
    left = {normalise(t) for t in (*all_pairs.queries, *all_pairs.documents)} - texts(dev) - texts(test)
    assert len(left) == 2 * 192  # these texts are all different


def test_a_component_is_never_split(settings, put):
    rows = [
        {"query": f"{'ab'[i % 2]} question {i // 2}", "document": f"answer {i // 4} of them"}
        for i in range(400)
    ]
    one = with_settings(settings, data=put("chained.jsonl", rows), eval_data=None, hold_out=0.2, dev_hold_out=0.2)  # fmt: skip
    prepared = prepare(one)
    dev, test = prepared.dev()[0], prepared.evaluation()[0]
    assert not texts(dev) & texts(test)
    answered = {
        row["document"]: {r["query"] for r in rows if r["document"] == row["document"]} for row in rows
    }
    assert all(answered[document] <= set(dev.queries) for document in dev.documents)


def test_dev_data_of_its_own_is_neither_trained_on_nor_the_test(settings, put):
    rows = [*make_rows(40, seed=2), {"query": "quite new", "document": "def new(): pass", "label": "image"}]
    one = with_settings(settings, dev_data=put("mine.jsonl", rows))
    assert len(prepare(one).dev()[0].queries) == 41
    assert prepare(one).meta["fingerprint"] == prepare(settings).meta["fingerprint"]
    assert prepare(settings).dev() is None
    trained, tested = make_rows(320)[7], make_rows(60, seed=1)[5]
    for row, name, than in (
        ({**rows[0], "document": trained["query"].upper()}, "a", "the training data"),
        ({**rows[0], "query": tested["document"]}, "b", "the test data"),
    ):
        bad = with_settings(settings, dev_data=put(f"{name}.jsonl", [*rows, row]))
        message = rf"--dev-data .*{name}.jsonl: expected texts that {than} does not have, got 1 of 42 pairs"
        with pytest.raises(UserError, match=message):
            prepare(bad)
        said = []
        prepare(with_settings(bad, allow_overlap=True), said.append)
        assert any(f"{than} does not have, got 1 of 42 pairs" in line for line in said)


def test_a_folder_has_its_validation_files(settings, put, tmp_path):
    one = with_settings(settings, data=str(tmp_path), eval_data=str(tmp_path), dev_data=str(tmp_path))
    with pytest.raises(UserError, match="expected validation files for --dev-data, got only test and train files"):  # fmt: skip
        prepare(one)
    put("validation.jsonl", make_rows(30, seed=4))
    prepared = prepare(one)
    assert [len(part[0].queries) for part in (prepared.dev(), prepared.evaluation())] == [30, 60]


def test_too_few_pairs_to_hold_some_out(settings, put):
    rows = [{"query": f"question {i}", "document": "the one answer"} for i in range(100)]
    one = with_settings(settings, data=put("one.jsonl", rows), eval_data=None, dev_hold_out=0.3)
    with pytest.raises(UserError, match=r"give more data, or dev pairs of your own \(--dev-data\)"):
        prepare(one)


def test_the_default_size():
    assert [default_size(n) for n in (100, 2_000, 10_000, 10**7)] == [20, 200, 500, 2_000]
