"""Shards of tokens: what is written is what is read, over the borders of shards."""

import numpy as np

from tempembed.inputs.token_shards import TokenShards, write_manifest, write_shard
from tempembed.system.checksums import is_intact


def test_spans_of_several_shards(tmp_path):
    documents = [np.arange(n) + 10 * n for n in (3, 5, 0, 4, 2)]
    write_shard(tmp_path, 0, documents[:2], 100)
    write_shard(tmp_path, 1, documents[2:], 100)
    write_manifest(tmp_path, vocabulary=100, fingerprint="f")
    assert is_intact(tmp_path)
    shards = TokenShards.open(tmp_path)
    assert len(shards) == 5
    assert shards.lengths.tolist() == [3, 5, 0, 4, 2]
    assert shards.meta["num_tokens"] == 14
    assert shards.meta["shards"] == [2, 3]
    found = shards.spans(np.array([4, 1, 3]), np.array([0, 2, 1]), np.array([2, 3, 2]))
    assert found.ids.tolist() == [20, 21, 52, 53, 54, 41, 42]
    assert found.offsets.tolist() == [0, 2, 5, 7]


def test_two_bytes_where_they_do(tmp_path):
    for vocabulary, size in ((2**16, 2), (2**16 + 1, 4)):
        folder = tmp_path / str(vocabulary)
        folder.mkdir()
        write_shard(folder, 0, [np.array([vocabulary - 1])], vocabulary)
        write_manifest(folder, vocabulary=vocabulary, fingerprint="f")
        shards = TokenShards.open(folder)
        assert np.load(folder / "00000.ids.npy").itemsize == size
        assert shards.spans(np.array([0]), np.array([0]), np.array([1])).ids.tolist() == [vocabulary - 1]
