"""Pairs of an object store: read once, read again when they change, and a line where they cannot be read."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3 import s3_server

from tempembed.data.pairs import read_pairs
from tempembed.data.raw_text import text_parts
from tempembed.settings.sources import Source, parse_source
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError
from tests.conftest import make_rows


def parquet(num: int, seed: int = 0) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(make_rows(num, seed)), file)
    return file.getvalue()


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    with s3_server() as (query, objects):
        objects.query = query
        yield objects


def test_a_file_is_copied_once_and_again_when_it_changes(store):
    store.put("pairs/a.parquet", parquet(20))
    place = f"s3://bucket/pairs/a.parquet?{store.query}"
    assert len(read_pairs(place)) == 20
    reads = [each for each in store.requests if each.startswith("GET pairs")]
    assert len(read_pairs(place)) == 20
    assert [each for each in store.requests if each.startswith("GET pairs")] == reads != []
    store.put("pairs/a.parquet", parquet(30), day=2)
    assert len(read_pairs(place)) == 30
    assert not [path for path in (cache_dir() / "remote").rglob("*") if path.name.startswith(".partial")]


def test_a_folder_is_what_is_there_now(store):
    store.put("pairs/a.parquet", parquet(20))
    store.put("pairs/b.parquet", parquet(30, seed=5))
    place = f"s3://bucket/pairs?{store.query}"
    assert len(read_pairs(place)) == 50
    del store.objects["pairs/a.parquet"]
    assert len(read_pairs(place)) == 30
    assert [part.place.rsplit("/", 1)[1] for part in text_parts(place)] == ["b.parquet"]


@pytest.mark.parametrize(
    ("what", "said"), [("denied", "credentials"), ("missing", "found none"), ("away", "network")]
)
def test_what_cannot_be_read_is_a_line(store, what, said):
    store.put("pairs/a.parquet", parquet(20))
    store.denies = what == "denied"
    query = store.query
    if what == "away":
        query = "endpoint_override=127.0.0.1:1&scheme=http&region=here&retry_strategy=standard"
    key = "none.parquet" if what == "missing" else "pairs/a.parquet"
    with pytest.raises(UserError, match=said) as error:
        read_pairs(f"s3://bucket/{key}?{query}")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_weight_stands_behind_an_address():
    assert parse_source("s3://bucket/pairs:2") == Source(place="s3://bucket/pairs", weight=2.0)
    port = "s3://bucket/pairs?endpoint_override=127.0.0.1:9000"
    assert parse_source(port) == Source(place=port)
    assert parse_source(f"{port}:2") == Source(place=port, weight=2.0)
