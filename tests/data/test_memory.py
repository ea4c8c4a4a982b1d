"""Data of a program: every kind gives the same pairs, and what is wrong is told with its row."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tempembed.data.memory import places
from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError

ROWS = [{"query": f"q{i}", "document": f"d{i} é\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "negative": f"n{i}" if i % 3 else None}
        for i in range(40)]  # fmt: skip
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
KINDS = {
    "rows": ROWS,
    "tuple": tuple(ROWS),
    "frame": pd.DataFrame(COLUMNS),
    "frame with nan": pd.DataFrame({**COLUMNS, "negative": [text or np.nan for text in COLUMNS["negative"]]}),
    "table": pa.table(COLUMNS),
    "chunks": pa.concat_tables([pa.table(COLUMNS).slice(0, 7), pa.table(COLUMNS).slice(7)]),
    "dataset": datasets.Dataset.from_dict(COLUMNS),
    "selected": datasets.Dataset.from_dict({name: [*values, "x"] for name, values in COLUMNS.items()}).select(
        range(40)
    ),
    "reader": pa.RecordBatchReader.from_batches(pa.table(COLUMNS).schema, pa.table(COLUMNS).to_batches()),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_pairs(kind):
    (place,) = places(KINDS[kind])
    pairs = read_pairs(place)
    assert pairs.queries == COLUMNS["query"]
    assert pairs.documents == COLUMNS["document"]
    assert [row or [] for row in pairs.hard_negatives] == [[n] if n else [] for n in COLUMNS["negative"]]
    assert pairs.fingerprint == read_pairs(next(iter(places(ROWS)))).fingerprint


def test_the_same_data_is_kept_once(cache):
    assert places(ROWS) == places(list(ROWS))
    assert len([path for path in (cache / "data").rglob("*") if path.is_file()]) == 1
    assert places(ROWS[:-1]) != places(ROWS)


def test_a_path_is_itself(tmp_path):
    assert places("a.csv") == {"a.csv": "a.csv"}
    assert places(tmp_path / "a.csv") == {str(tmp_path / "a.csv"): str(tmp_path / "a.csv")}


@pytest.mark.parametrize(
    "mixture",
    [[(ROWS[:30], 2), (ROWS[30:], 1)], {"one": (ROWS[:30], 2), "two": (ROWS[30:], 1)}],
)
def test_mixtures(mixture):
    first, second = places(mixture)
    assert first.endswith(".jsonl:2")
    assert second.endswith(".jsonl:1")
    assert [len(read_pairs(place.rpartition(":")[0])) for place in (first, second)] == [30, 10]
    assert list(places({"a.csv": 2, "b.csv": 0.25})) == ["a.csv:2", "b.csv:0.25"]
    assert list(places(["a.csv", ("b.csv", 1e-5)])) == ["a.csv", "b.csv:0.00001"]
    assert list(places(("a.csv", 3))) == ["a.csv:3"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected rows, got none"),
        (pa.table({"query": pa.array([], pa.string())}), "expected rows, got none"),
        (3, "expected a path, a hub name, .* got int"),
        ([{"query": "a"}, "b"], r"data, row 2: expected a dictionary as in the first row, got 'b'"),
        (datasets.DatasetDict(train=KINDS["dataset"]), "expected one split, got a DatasetDict of train; give one"),
        (pd.DataFrame([["a", "b"]]), "expected columns with names of text, got"),
        ([(ROWS, float("nan"))], "expected weights that are finite numbers, got nan"),
        ([(ROWS, 1), (ROWS, 2)], r"copies|expected each source once|data-2"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_one_line(data, message):
    with pytest.raises(UserError, match=message) as error:
        read_pairs([place.rpartition(":")[0] if ":" in place else place for place in places(data)])
    assert "\n" not in str(error.value)
