"""The cache of prepared data, after a broken disk or a hand in it: used as it was written, or made anew."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.stages.prepared import Prepared
from tempembed.system.checksums import MANIFEST
from tests.conftest import make_rows
from tests.fuzz.harness import damaged, only_our_errors, profile


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("pairs")
    for name, num in (("train", 16), ("test", 8)):
        pq.write_table(pa.Table.from_pylist(make_rows(num, seed=num)), folder / f"{name}.parquet")
    return TrainSettings.of(
        data=str(folder / "train.parquet"), eval_data=str(folder / "test.parquet"), width=16, vocabulary=300,
        batch_size=8, objective="infonce:0.1",
    )  # fmt: skip


@pytest.fixture
def whole(settings, folder, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(folder))
    return content(prepare(settings))


def content(prepared: Prepared) -> dict[str, bytes]:
    assert Path(os.environ["TEMPEMBED_CACHE"]) in prepared.folder.parents
    return {path.name: path.read_bytes() for path in sorted(prepared.folder.iterdir())}


@profile
@given(st.data())
def test_prepared(settings, folder, whole, data):
    said = []
    with only_our_errors("test_prepared", folder):
        (place,) = (folder / "prepared").iterdir()
        name = data.draw(st.sampled_from(sorted(whole)))
        bad = data.draw(st.one_of(damaged(whole[name]), st.none()))
        (place / name).unlink() if bad is None else (place / name).write_bytes(bad)
        found = content(prepare(settings, said.append))
        assert found == whole | {MANIFEST: found[MANIFEST]}
        if not any("damaged: prepared anew" in line for line in said):
            assert bad == found[name]
