import pytest
import torch

from tempembed.codecs.bits import MedianBits, SignBits
from tempembed.codecs.integers import Int4, Int8
from tempembed.index.top_k import Reranker, decoded_top_k, nested_similarity, top_k


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(200, 36, generator=generator), dim=1)
    q = torch.nn.functional.normalize(x[:30] + 0.2 * torch.randn(30, 36, generator=generator), dim=1)
    return q, x


def test_nested_widths_equal_products_of_prefixes(rows):
    q, x = rows
    for width, products in nested_similarity(q, x, [4, 9, 36]):
        torch.testing.assert_close(products, q[:, :width] @ x[:, :width].T)


def test_top_k_of_ties_has_the_higher_number_first():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert top_k(scores, 2).tolist() == [[4, 2], [4, 3]]
    assert top_k(scores, 9).tolist() == [[4, 2, 1, 3, 0], [4, 3, 2, 1, 0]]


@pytest.mark.parametrize("floats", [36 * 3, 36 * 50, 2**24])
def test_blocks_of_decoded_documents_give_the_whole_ranking(floats, rows, monkeypatch):
    monkeypatch.setattr("tempembed.index.top_k.BLOCK_FLOATS", floats)
    q, x = rows
    q = (q * 4).round()  # whole numbers: sums are exact in any order, and many scores are equal
    integers = Int4(36)
    integers.state = {"low": torch.full((36,), -2.0), "step": torch.full((36,), 1.0)}
    codes = integers.encode((x * 4).round())
    scores, ids = decoded_top_k(q, codes, integers.decode, 7)
    products = q @ integers.decode(codes).T
    assert (products.sort(1).values.diff() == 0).any()
    assert ids.equal(top_k(products, 7))
    assert scores.equal(products.gather(1, ids))


@pytest.mark.parametrize("how", ["bits", "unbiased", "int8", "float"])
@pytest.mark.parametrize("kind", [SignBits, MedianBits])
def test_reranking_orders_candidates_by_its_score(how, kind, rows, monkeypatch):
    monkeypatch.setattr("tempembed.index.top_k.RERANK_FLOATS", 36 * 20 * 7)  # several blocks
    q, x = rows
    bits = kind(36)
    bits.fit(x)
    candidates = torch.stack(
        [torch.randperm(200, generator=torch.Generator().manual_seed(i))[:20] for i in range(30)]
    )
    got = Reranker(how, bits, x)(q, candidates)
    signs = torch.where(bits.project(x) > 0, 1.0, -1.0)
    if how == "bits":
        scores = bits.project(q) @ signs.T
    elif how == "unbiased":
        scores = bits.project(q) @ signs.T / bits.project(x).abs().sum(1).half().float()
    elif how == "int8":
        integers = Int8(36)
        integers.fit(x)
        scores = q @ integers.decode(integers.encode(x)).T
    else:
        scores = q @ x.T
    for row in range(30):
        want = sorted(candidates[row].tolist(), key=lambda j: (-scores[row, j].item(), -j))
        chosen = scores[row][got[row]]
        assert sorted(got[row].tolist()) == sorted(want)
        torch.testing.assert_close(chosen, scores[row][want])


def test_unbiased_scores_estimate_the_float_product():
    """E <q, sign d> / ||d||_1 = <q, d> over random rotations of both (RaBitQ); without the norm it is not."""
    generator = torch.Generator().manual_seed(0)
    q, d = (torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0) for _ in range(2))
    q = torch.nn.functional.normalize(q + 2 * d, dim=0)
    estimates = []
    for _ in range(2000):
        rotation = torch.linalg.qr(torch.randn(64, 64, generator=generator))[0]
        turned = rotation @ d
        estimates.append(((rotation @ q) @ turned.sign() / turned.abs().sum()).item())
    assert sum(estimates) / len(estimates) == pytest.approx((q @ d).item(), abs=0.01)


def test_an_empty_search_is_empty(rows):
    q, x = rows
    found = Reranker("float", SignBits(36), x)(q[:0], torch.zeros(0, 5, dtype=torch.int64))
    assert found.shape == (0, 5)
