"""Rows on disk are the rows in memory; masks that take no memory are those of numpy."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data import kept_rows
from tempembed.data.kept_rows import KeptRows, filtered, over_parts, packed, repeated, unpacked
from tempembed.data.pairs import read_pairs
from tempembed.data.split import holdout
from tempembed.system.cache import cache_dir
from tempembed.system.disk import DiskFullError
from tests.conftest import make_rows, small_disk

TABLE = pa.table(
    {"text": [f"text {i}" * (i % 7) for i in range(1000)], "tags": [["a"] * (i % 3) for i in range(1000)]}
)


@pytest.fixture(params=["memory", "disk"])
def kept(request, monkeypatch):
    if request.param == "disk":
        monkeypatch.setattr(kept_rows, "IN_MEMORY", 1000)
        monkeypatch.setattr(kept_rows, "PART_ROWS", 64)
    return request.param


def test_they_come_back_in_order_and_leave_no_file(kept):
    before = set(cache_dir().glob("*"))
    rows = KeptRows(TABLE.schema)
    for start in range(0, 1000, 130):
        rows.add(TABLE.slice(start, 130))
    assert rows.table().equals(TABLE)
    assert set(cache_dir().glob("*")) == before
    mask = np.arange(1000) % 3 == 0
    assert filtered(TABLE, mask).equals(TABLE.filter(pa.array(mask)))
    assert filtered(TABLE, np.ones(1000, bool)) is TABLE
    assert filtered(TABLE, np.zeros(1000, bool)).num_rows == 0


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    with small_disk(tmp_path, "200k") as disk:
        monkeypatch.setenv("TEMPEMBED_CACHE", str(disk))
        monkeypatch.setattr(kept_rows, "IN_MEMORY", 1000)
        rows = KeptRows(TABLE.schema)
        tables = [TABLE] * 50
        with pytest.raises(DiskFullError, match="pairs that are read"):
            list(map(rows.add, tables))


def test_a_part_is_sent_without_what_it_is_a_slice_of():
    part = TABLE.slice(500, 3)
    assert unpacked(packed(part)).equals(part)
    assert len(packed(part)) < 2000


def test_parts_are_met_in_order_on_several_processes(monkeypatch):
    monkeypatch.setattr(kept_rows, "MANY", 500)
    monkeypatch.setattr(kept_rows, "PART_ROWS", 300)
    monkeypatch.setattr(kept_rows, "num_cpus", lambda: 2)
    assert list(over_parts(len, TABLE)) == [300, 300, 300, 100]


def test_repeated():
    values = np.random.default_rng(0).integers(0, 150_000, 200_000)
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    assert (repeated(values) == (size[group] > 1)).all()
    assert not repeated(np.arange(10)).any()
    assert not repeated(np.empty(0, np.int64)).any()


def test_pairs_and_a_hold_out_are_the_same_on_disk(monkeypatch, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([*make_rows(300), *make_rows(40)]), path)

    def read():
        pairs = read_pairs(str(path))
        train, test = holdout(pairs.table, 30)
        return len(pairs), pairs.skip_reasons, pairs.fingerprint, train.to_pylist(), test.to_pylist()

    in_memory = read()
    assert in_memory[:2] == (300, {"duplicate pair": 40})
    assert [len(part) for part in in_memory[3:]] == [270, 30]
    monkeypatch.setattr(kept_rows, "IN_MEMORY", 1000)
    monkeypatch.setattr(kept_rows, "PART_ROWS", 64)
    assert read() == in_memory
