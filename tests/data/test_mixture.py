"""Several sources with weights: how they are named, read, checked, and trained on."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import read_pairs
from tempembed.data.records import SUFFIXES
from tempembed.settings.places import with_places
from tempembed.settings.sources import parse_source, parse_sources
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"query": f"q{i}", "document": f"d{i}"} for i in range(50)]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    more = {"query": [f"x{i}" for i in range(30)], "document": [f"y{i}" for i in range(30)],
            "negative": [f"n{i}" for i in range(30)], "label": [f"c{i % 3}" for i in range(30)]}  # fmt: skip
    pq.write_table(pa.table(more), tmp_path / "a.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd:3").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place", "weight"),
    [
        ("a.parquet", "a.parquet", None),
        ("a.parquet:2", "a.parquet", 2.0),
        ("gone.jsonl.gz:0.5", "gone.jsonl.gz", 0.5),
        ("folder:.25", "folder", 0.25),
        ("folder/:3", "folder/", 3.0),
        ("odd:3", "odd:3", None),  # a file that is called so
        ("odd:3:2", "odd:3", 2.0),
        ("nothing:3", "nothing:3", None),  # a hub name with its config
        ("org/name:3", "org/name:3", None),
        ("org/name:config:3", "org/name:config:3", None),
        ("org/name:config:train:3", "org/name:config:train", 3.0),
        ("org/name::train:3", "org/name::train", 3.0),
        ("org/name:config:train[:10%]", "org/name:config:train[:10%]", None),
        ("C:\\pairs.csv", "C:\\pairs.csv", None),
        ("C:\\pairs.csv:2", "C:\\pairs.csv", 2.0),
        ("installed-code:2", "installed-code", 2.0),
        ("a.parquet:two", "a.parquet:two", None),
        ("a.parquet:", "a.parquet:", None),
        ("a.parquet:nan", "a.parquet:nan", None),
        ("a\0b:2", "a\0b:2", None),
    ],
)
def test_a_number_after_a_place_is_its_weight(here, text, place, weight):
    found = parse_source(text)
    assert (found.place, found.weight) == (place, weight)


def test_all_files_that_are_read_take_a_weight(tmp_path):
    assert all(parse_source(f"gone{suffix}{packed}:2").weight == 2 for suffix in SUFFIXES for packed in ("", ".gz"))  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a.parquet:0", "b.jsonl:0"], r"--data: expected weights that sum to more than 0, got a.parquet:0 b.jsonl:0$"),
        (["a.parquet:2", "b.jsonl"], r"--data: expected a weight for every source or for none, got none for b.jsonl; write b.jsonl:1$"),
        (["a.parquet:-1", "b.jsonl:1"], r"--data: expected weights >= 0, got -1$"),
        (["a.parquet", "a.parquet"], r"--data: expected each source once, got a.parquet twice; .* a.parquet:2$"),
    ],
)  # fmt: skip
def test_bad_weights_are_one_line(here, texts, message):
    with pytest.raises(UserError, match=message) as error:
        parse_sources(texts)
    assert "\n" not in str(error.value)


def test_one_source_is_written_as_it_always_was(here):
    assert TrainSettings.of(data="a.parquet").to_dict()["data"] == "a.parquet"
    assert TrainSettings.of(data="a.parquet").to_dict()["eval_data"] is None
    assert TrainSettings.of(data=here / "a.parquet").data.data == (str(here / "a.parquet"),)
    for given in ("a.parquet", ["a.parquet:2", "b.jsonl:1"]):
        settings = TrainSettings.of(data=given, eval_data=given)
        assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    before = {**TrainSettings().to_dict(), "data": "x.csv", "eval_data": "y.csv"}
    assert TrainSettings.from_dict(before) == TrainSettings.of(data="x.csv", eval_data="y.csv")
    with pytest.raises(UserError, match="expected data to be"):
        TrainSettings.from_dict({**before, "data": 3})


def test_places_are_absolute_and_keep_their_weights(here):
    settings = with_places(TrainSettings.of(data=["a.parquet:2", "folder:1"], eval_data="b.jsonl"))
    assert settings.data.data == (f"{here}/a.parquet:2", f"{here}/folder:1")
    assert settings.data.eval_data == (str(here / "b.jsonl"),)


def test_columns_may_differ_between_sources(here):
    pairs = read_pairs(["a.parquet", "b.jsonl"])
    assert pairs.source_names == ["a.parquet", "b.jsonl"]
    assert pairs.groups == (0, 1)
    assert np.bincount(pairs.sources).tolist() == [30, 50]
    assert [len(row or ()) for row in pairs.hard_negatives] == [1] * 30 + [0] * 50
    assert pairs.labels == [f"c{i % 3}" for i in range(30)] + [None] * 50
    assert read_pairs("b.jsonl").sources is None


def test_bad_rows_and_copies_are_told_by_source(here):
    with (here / "b.jsonl").open("a") as file:
        file.write('\n{"query": "", "document": "d"}\n{"query": "x1", "document": "y1"}\n')
    with pytest.raises(UserError, match=r"b\.jsonl, row 51 \(line 51\), column 'query'"):
        read_pairs(["a.parquet", "b.jsonl"])
    pairs = read_pairs(["a.parquet", "b.jsonl"], skip_bad_rows=True)
    assert pairs.left_out["a.parquet"] == {}
    assert sorted(pairs.left_out["b.jsonl"].values()) == [1, 1]
    assert pairs.num_skipped == 2
    (here / "copy.jsonl").write_text((here / "b.jsonl").read_text().partition("\n")[0])
    with pytest.raises(UserError, match=r"copy\.jsonl: expected pairs that the sources before it do not have, all 1 are copies"):  # fmt: skip
        read_pairs(["b.jsonl", "copy.jsonl"], skip_bad_rows=True)
    (here / "empty.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"empty\.jsonl: expected at least one good pair"):
        read_pairs(["b.jsonl", "empty.jsonl"], skip_bad_rows=True)


def test_files_of_one_name_are_told_apart(here):
    (here / "folder" / "b.jsonl").write_text('{"query": "q", "document": "d"}\n')
    assert read_pairs(["b.jsonl", "folder"]).source_names == ["b.jsonl", "folder/b.jsonl"]
    with pytest.raises(UserError, match=r"expected each file once, got folder/b.jsonl twice"):
        read_pairs(["folder", "folder/b.jsonl"])
