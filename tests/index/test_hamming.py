import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tempembed.index.hamming import BLOCK, hamming_top_k


def brute(queries, documents, k):
    counts = np.unpackbits(queries.numpy()[:, None] ^ documents.numpy()[None], axis=2).sum(2, dtype=np.int64)
    ids = [sorted(range(len(documents)), key=lambda j: (row[j], -j))[:k] for row in counts]
    return [[int(counts[i][j]) for j in row] for i, row in enumerate(ids)], ids


def codes(num, size, seed, values=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, values, (num, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [1, 3, 8, 16, 17, 64, 72, 128])
@pytest.mark.parametrize("num", [1, 7, BLOCK, BLOCK + 1, 3 * BLOCK - 5])
def test_the_nearest_by_brute_force(size, num):
    queries, documents = codes(9, size, 0), codes(num, size, 1)
    for k in (1, 10, num + 3):
        distances, ids = hamming_top_k(queries, documents, k)
        assert (distances.tolist(), ids.tolist()) == brute(queries, documents, k)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 600), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_of_many_ties_the_higher_number_comes_first(num, k, values, seed):
    queries, documents = codes(3, 2, seed, values), codes(num, 2, seed + 1, values)
    distances, ids = hamming_top_k(queries, documents, k)
    assert (distances.tolist(), ids.tolist()) == brute(queries, documents, k)


def test_empty_and_unfit_input():
    assert hamming_top_k(codes(0, 8, 0), codes(5, 8, 0), 3)[1].shape == (0, 3)
    assert hamming_top_k(codes(2, 8, 0), codes(0, 8, 0), 3)[1].shape == (2, 0)
    with pytest.raises(ValueError, match="one width"):
        hamming_top_k(codes(2, 8, 0), codes(2, 9, 0), 1)
    with pytest.raises(ValueError, match="uint8"):
        hamming_top_k(codes(2, 8, 0).int(), codes(2, 8, 0), 1)
    with pytest.raises(ValueError, match="k >= 1"):
        hamming_top_k(codes(2, 8, 0), codes(2, 8, 0), 0)
