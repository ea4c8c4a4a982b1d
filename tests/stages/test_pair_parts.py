"""Prepared data is the same bytes whatever makes it, and an interrupted preparation goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempembed.data import kept_rows
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.encoders.weightless import weightless
from tempembed.settings.train import TrainSettings
from tempembed.stages import pair_parts
from tempembed.stages.prepare import prepare, prepare_with_encoder
from tempembed.system.checksums import MANIFEST, is_intact
from tests.conftest import make_rows


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Pairs of which some have hard negatives: none, one or two, and of which some documents have several queries."""
    rows = make_rows(300)
    for i, row in enumerate(rows):
        row["hard_negatives"] = [f"def wrong_{i}_{k}(): pass" for k in range((i // 100) % 3)]
        row["document"] = rows[i - i % 2]["document"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "one"))
    return TrainSettings.of(
        data=str(tmp_path / "a.parquet"),
        width=16,
        vocabulary=300,
        batch_size=32,
        steps=1,
        objective="infonce:0.06",
    )


@pytest.fixture
def whole(settings):
    return content(prepare(settings).folder)


def content(folder: Path) -> dict[str, bytes]:
    assert is_intact(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_parts(monkeypatch, tmp_path, whole):
    monkeypatch.setattr(kept_rows, "PART_ROWS", 70)
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "two"))


def test_parts_on_several_processes_are_the_same_bytes(settings, whole, small_parts, monkeypatch):
    monkeypatch.setattr(pair_parts, "MANY", 100)
    monkeypatch.setattr(pair_parts, "num_cpus", lambda: 2)
    found = prepare(settings).folder
    assert content(found) == whole
    assert {"negative_1.ids.npy", "has_negative.npy", "query.counts.npy", MANIFEST} <= whole.keys()
    assert not [path for path in found.parent.iterdir() if path.is_dir() and path != found]


class Fails(ThreadPoolExecutor):
    """Runs some, and then dies."""

    def __init__(self, after: int) -> None:
        super().__init__(1)
        self.left, self.num_workers = after, 1

    def submit(self, function, /, *arguments, **more) -> Future:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().submit(function, *arguments, **more)


def test_an_interrupted_preparation_goes_on(settings, whole, small_parts, monkeypatch):
    monkeypatch.setattr(pair_parts, "num_cpus", lambda: 1)
    with Fails(4) as pool, pytest.raises(KeyboardInterrupt):
        prepare_with_encoder(settings, pool=pool)
    said: list[str] = []
    with Fails(2) as pool:  # 5 parts, of which 3 were taken
        prepared, _ = prepare_with_encoder(settings, said.append, pool=pool)
    assert content(prepared.folder) == whole
    assert "goes on: 210 of 300 pairs are tokenised already" in said


def test_what_prepares_needs_no_weights():
    encoder = static_encoder(train_tokenizer(["open the socket"] * 9, 60), width=16, max_tokens=16, seed=0)
    light = weightless(encoder)
    assert {each.device.type for each in light.parameters()} == {"meta"}
    assert {each.device.type for each in encoder.parameters()} == {"cpu"}
    one, other = (each.prepare(["open a socket"], each.role("query")) for each in (encoder, light))
    assert torch.equal(torch.from_numpy(one.ids), torch.from_numpy(other.ids))
