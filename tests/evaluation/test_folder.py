import json

import pytest

from tempembed.evaluation.folder import read_folder
from tempembed.system.errors import UserError


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


CORPUS = lines({"_id": "a", "text": "x"}, {"_id": "b", "text": "y"})
QUERIES = lines({"_id": "q", "text": "z"})
GOOD = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\t1"}


def put(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_folder_of_search(tmp_path):
    (task,) = read_folder(put(tmp_path, GOOD))
    assert task.kind == "retrieval"
    assert task.columns["corpus"] == {"id": ["a", "b"], "text": ["x", "y"]}
    assert task.relevant == {"q": {"a": 1}}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\tnone\t1"}, "'none' and 0 more that are not"),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nnone\ta\t1"}, "ids that are in queries"),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\t0"}, "score above 0"),
        ({"qrels.tsv": "query-id\tcorpus-id\nq\ta"}, "missing"),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\tgood"}, "expected a whole number"),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\t0.5"}, "row 1, column score: expected a whole number"),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\tinf"}, "expected a whole number"),
        ({"corpus.jsonl": lines({"_id": "a", "text": "x"}, {"_id": "a", "text": "y"})}, "unique ids"),
        ({"corpus.jsonl": lines({"_id": "a", "text": 7}, {"_id": "b", "text": "y"})}, "row 1, column text: expected text"),
        ({"corpus.jsonl": '{"_id": "a", "te'}, "line 1: expected one JSON object per line"),
        ({"corpus.jsonl": ""}, "expected rows, got none"),
        ({"corpus.csv": "_id,text\na,x"}, "expected one file corpus"),
        ({"queries.jsonl": lines({"_id": "q", "text": 5})}, "expected text"),
        ({"top_ranked.jsonl": lines({"query-id": "q", "corpus-ids": ["a", "zz"]})}, "'zz'"),
        ({"top_ranked.jsonl": lines({"query-id": "other", "corpus-ids": ["a"]})}, "has none"),
    ],
)  # fmt: skip
def test_faults_are_named(files, match, tmp_path):
    with pytest.raises(UserError, match=match):
        read_folder(put(tmp_path, GOOD | files))


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"test.jsonl": lines({"a": 1})}, "expected the columns"),
        ({"test.jsonl": lines({"sentence1": "x", "sentence2": "y", "score": None})}, "a number"),
        ({"test.jsonl": lines({"sentence1": "x", "sentence2": "y", "labels": 2})}, "0 or 1"),
        ({"test.jsonl": lines({"text": "x", "label": 1})}, "file train"),
        ({name: lines({"text": "x", "label": 1}) for name in ("train.jsonl", "test.jsonl")}, "at least 2 labels, got 1"),
        ({"test.jsonl": lines({"sentences": ["x"], "labels": ["y"]})}, "at least 2"),
        ({"test.jsonl": lines({"sentences": ["x", "y"], "labels": ["y"]})}, "as many labels"),
        ({"test.parquet": "no parquet"}, "expected a whole Parquet file"),
        ({}, "expected corpus, queries and qrels"),
    ],
)  # fmt: skip
def test_faults_of_other_kinds_are_named(files, match, tmp_path):
    with pytest.raises(UserError, match=match):
        read_folder(put(tmp_path, files))


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="there is none"):
        read_folder(tmp_path / "x")
