"""Which data trackers are told of."""

from tempembed.settings.data import DataSettings
from tempembed.tracking.datasets import tracked_datasets

META = {"fingerprint": "0123", "num_pairs": 9, "test": "abcd"}


def found(meta=META, **settings):
    return [
        (each.context, each.name, each.source, each.digest, each.num_rows)
        for each in tracked_datasets(DataSettings(**settings), meta)
    ]


def test_training_pairs_and_the_test_by_their_content():
    training = ("training", "p.parquet", "/d/p.parquet", "0123", 9)
    held_out = ("test", "p.parquet (held out)", "/d/p.parquet", "abcd", None)
    assert found(data="/d/p.parquet", hold_out=0.1) == [training, held_out]
    own = ("test", "t.parquet (test)", "/d/t.parquet", "abcd", None)
    assert found(data="/d/p.parquet", eval_data="/d/t.parquet") == [training, own]
    assert found({**META, "test": ""}, data="/d/p.parquet") == [training]


def test_several_sources_are_one_data_set():
    mixed = found({**META, "test": ""}, data=("/d/a.parquet:2", "/d/b.jsonl:1"))
    assert mixed == [("training", "a.parquet+b.jsonl", "/d/a.parquet /d/b.jsonl", "0123", 9)]


def test_installed_code_brings_its_own_test():
    assert [each[:3] for each in found()] == [
        ("training", "installed-code", "installed-code"), ("test", "installed-code (test)", "installed-code"),
    ]  # fmt: skip
