"""Test data in the training data: splits of a folder, and texts that training and test share."""

import gzip
import json

import datasets
import pyarrow as pa
import pytest
from datasets.data_files import get_data_patterns

from tempembed.data.overlap import check_overlap
from tempembed.data.pairs import read_pairs
from tempembed.data.splits import split_of
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import evaluation_task, prepare
from tempembed.system.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A folder of files, each with one pair that has the file's name."""

    def make(*names, place="data"):
        for name in names:
            path = tmp_path / place / name
            path.parent.mkdir(exist_ok=True, parents=True)
            content = (json.dumps({"query": name, "document": f"of {name}"}) + "\n").encode()
            path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return str(tmp_path / place)

    return make


def read(folder, split):
    said = []
    return read_pairs(folder, split=split, say=said.append).queries, "\n".join(said)


SHARDS = [f"{name}-0000{i}-of-00002.jsonl" for name in ("train", "test", "validation") for i in range(2)]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (SHARDS, SHARDS[:2], SHARDS[2:4]),
        (["train.jsonl", "test.jsonl"], ["train.jsonl"], ["test.jsonl"]),
        (["train.jsonl", "dev.jsonl"], ["train.jsonl"], ["dev.jsonl"]),
        (["train.jsonl", "valid.jsonl", "test.jsonl"], ["train.jsonl"], ["test.jsonl"]),
        (["my-training-1.jsonl", "my-val-1.jsonl"], ["my-training-1.jsonl"], ["my-val-1.jsonl"]),
        (
            ["nq_train.jsonl", "nq_eval.jsonl", "qa_train.jsonl"],
            ["nq_train.jsonl", "qa_train.jsonl"],
            ["nq_eval.jsonl"],
        ),
        (["pairs.jsonl", "test.jsonl"], ["pairs.jsonl"], ["test.jsonl"]),
        (["train.jsonl", "test.jsonl", "more.jsonl"], ["train.jsonl"], ["test.jsonl"]),
        (["TRAIN.jsonl", "Test.jsonl"], ["TRAIN.jsonl"], ["Test.jsonl"]),
        (["train.jsonl.gz", "testing.jsonl.gz"], ["train.jsonl.gz"], ["testing.jsonl.gz"]),
        (["train.jsonl"], ["train.jsonl"], ["train.jsonl"]),
        (["a.jsonl", "latest.jsonl", "trainer.jsonl"], ["a.jsonl", "latest.jsonl", "trainer.jsonl"], None),
    ],
)
def test_each_reads_its_split(folder, names, train, test):
    """--data took all files, so that the test was trained on."""
    place = folder(*names)
    assert read(place, "train")[0] == sorted(train)
    assert read(place, "test")[0] == sorted(test or train)


def test_the_split_is_said(folder):
    place = folder("train.jsonl", "test.jsonl", "dev.jsonl")
    assert read(place, "train")[1] == (
        f"{place}: reads the train files ('train.jsonl') and leaves out 'dev.jsonl', 'test.jsonl'"
    )
    assert read(place, "test")[1].startswith(
        f"{place}: reads the test files ('test.jsonl') and leaves out 'dev"
    )
    assert "no test or validation files: all are read" in read(folder("train.jsonl", place="b"), "test")[1]
    assert read(folder("a.jsonl", "b.jsonl", place="c"), "train")[1] == ""


def test_a_folder_of_test_files_is_not_trained_on(folder):
    with pytest.raises(
        UserError,
        match=r"expected data for training, got only test and validation files \('dev.jsonl', 'test",
    ):
        read(folder("test.jsonl", "dev.jsonl"), "train")
    path = folder("test.jsonl") + "/test.jsonl"
    assert read(path, "train")[0] == ["test.jsonl"]  # a file by its name is what it is


def test_a_folder_for_each_split(folder):
    place = folder("train/0.jsonl", "train/1.jsonl", "test/0.jsonl", "README.md")
    assert read(place, "train")[0] == ["train/0.jsonl", "train/1.jsonl"]
    assert read(place, "test")[0] == ["test/0.jsonl"]


NAMES = [
    "train",
    "training",
    "test",
    "testing",
    "eval",
    "evaluation",
    "dev",
    "val",
    "valid",
    "validation",
    "latest",
    "devel",
]


@pytest.mark.parametrize(
    "form",
    [
        "{}.csv",
        "{}-00000-of-00001.csv",
        "{}_1.csv",
        "my-{}.csv",
        "my_{}_2.csv",
        "{}0.csv",
        "a {}.csv",
        "my{}.csv",
    ],
)
def test_spellings_are_those_of_datasets(form, tmp_path, monkeypatch):
    for name in NAMES:
        place = tmp_path / name
        place.mkdir()
        (place / form.format(name)).write_text("a\n1\n")
        (found,) = get_data_patterns(str(place))
        theirs = None if get_data_patterns(str(place)) == {"train": ["**"]} else str(found)
        assert split_of(form.format(name)) == theirs, form.format(name)


def test_splits_that_datasets_saved(tmp_path):
    datasets.disable_progress_bars()
    parts = {
        name: datasets.Dataset.from_list([{"query": name, "document": "d"}])
        for name in ("train", "validation", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "all")
    assert read(str(tmp_path / "all"), "train")[0] == ["train"]
    queries, said = read(str(tmp_path / "all"), "test")
    assert queries == ["test"]
    assert "reads the test files ('test') and leaves out 'train', 'validation'" in said
    del parts["test"]
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    assert read(str(tmp_path / "two"), "test")[0] == ["validation"]


@pytest.mark.parametrize(
    ("there", "source", "asked"),
    [
        (("train", "test"), "org/name", "test"),
        (("train", "validation"), "org/name", "validation"),
        (("train",), "org/name", "train"),
        (("train", "test"), "org/name::train", "train"),
    ],
)
def test_splits_of_the_hub(monkeypatch, there, source, asked):
    def load_dataset(name, config, *, split):
        if split not in there:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(there)}.')
        return datasets.Dataset.from_list([{"query": split, "document": "d"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read(source, "test")[0] == [asked]


# Overlap


def table(*rows):
    return pa.Table.from_pylist(
        [{"query": q, "document": d, "hard_negatives": list(n)} for q, d, *n in rows],
        pa.schema({"query": pa.string(), "document": pa.string(), "hard_negatives": pa.list_(pa.string())}),
    )


TRAIN = table(("what is a sum", "a sum is", "a product is"), ("who", "me", "you"))


@pytest.mark.parametrize(
    "shared",
    [
        ("what is a sum", "new"),
        ("new", "a sum is"),
        ("new", "what is a sum"),  # a query there, a document here
        ("a sum is", "new"),
        ("new", "a product is"),  # a hard negative there
        ("new", "other", "who"),  # a hard negative here
        ("  What is a SUM?", "new"),  # as `split.text_key` compares
        ("new", "a -- sum... is"),
    ],
)
def test_a_shared_text_of_any_role_is_found(shared):
    test = table(("one", "two", "three"), shared, ("four", "five"))
    with pytest.raises(
        UserError, match=r"got 1 of 3 pairs that share a text with it, as .*: take these pairs out of one"
    ):
        check_overlap(TRAIN, test, what="test", allow=False, say=print)


def test_no_shared_text_is_no_overlap():
    said = []
    check_overlap(
        TRAIN, table(("what is a sum of", "sum", "product is a")), what="test", allow=False, say=said.append
    )
    check_overlap(
        TRAIN.drop_columns("hard_negatives"),
        table(("a product is", "x")),
        what="test",
        allow=False,
        say=said.append,
    )
    assert said == []


def test_texts_without_letters_are_compared_as_they_are():
    check_overlap(table(("+", "!!")), table(("-", "??")), what="test", allow=False, say=print)
    with pytest.raises(UserError, match="got 1 of 1 pairs"):
        check_overlap(table(("+", "a")), table(("b", "+")), what="test", allow=False, say=print)


def test_the_overlap_is_counted_and_shown():
    train = table(*((f"question {i}", f"answer {i}") for i in range(200)))
    test = table(*((f"question {i}", "new") for i in range(40)), *((f"new {i}", f"Answer {i}!") for i in range(21)),
                 *((f"other {i}", f"text {i}") for i in range(40)))  # fmt: skip
    with pytest.raises(UserError) as error:
        check_overlap(train, test, what="--eval-data x", allow=False, say=print)
    assert str(error.value) == (
        "--eval-data x: expected texts that the training data does not have, got 61 of 101 pairs that share a text with it, as "
        "query 'question 0', query 'question 1', query 'question 2': take these pairs out of one of the two, or pass --allow-overlap"
    )
    said = []
    check_overlap(train, test, what="--eval-data x", allow=True, say=said.append)
    assert "got 61 of 101 pairs" in said[0]


@pytest.fixture
def settings(put, tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    train = [{"query": f"question {i} of many", "document": f"the answer number {i}"} for i in range(60)]
    test = [{"query": f"asked {i} times", "document": f"told {i} times"} for i in range(20)]
    return TrainSettings.of(
        data=put("train.jsonl", train), eval_data=put("test.jsonl", test), batch_size=8, vocabulary=300, width=16
    ), test, put  # fmt: skip


def test_training_with_its_test_data_is_refused(settings):
    settings, test, put = settings
    prepare(settings)
    put("test.jsonl", [*test, {"query": "new", "document": "Question 7 of many?"}])
    with pytest.raises(
        UserError,
        match=r"--eval-data .*test.jsonl: expected texts that .* got 1 of 21 pairs .* as document 'Question 7",
    ):
        prepare(settings)
    said = []
    prepare(with_settings(settings, allow_overlap=True), said.append)
    assert any("got 1 of 21 pairs that share a text" in line for line in said)


def test_a_folder_is_trained_and_tested_on_its_splits(settings, tmp_path):
    settings, _, _ = settings
    one = with_settings(settings, data=str(tmp_path), eval_data=str(tmp_path))
    prepared, split = prepare(one), prepare(settings)
    assert prepared.meta["num_pairs"] == 60
    assert prepared.meta["fingerprint"] == split.meta["fingerprint"]
    assert prepared.evaluation()[0].queries == split.evaluation()[0].queries


def test_evaluation_of_a_folder_reads_its_test(settings, tmp_path):
    said = []
    assert len(evaluation_task(str(tmp_path), say=said.append).queries) == 20
    assert "reads the test files ('test.jsonl') and leaves out 'train.jsonl'" in said[0]
