import torch

from tempembed.compression.search import nested_similarity, top_k
from tempembed.compression.sign import bytes_per_vector, sign
from tempembed.compression.width import cut, random_orders, widths


def test_nested_similarity_equals_each_prefix_product():
    q, d = torch.randn(3, 40), torch.randn(7, 40)
    for width, products in nested_similarity(q, d, [5, 20, 40]):
        torch.testing.assert_close(products, q[:, :width] @ d[:, :width].T)


def test_sign_products_are_hamming_distances():
    x = torch.randn(4, 13)
    x[0, 0] = 0
    bits = sign(x)
    assert set(bits.flatten().tolist()) == {-1.0, 1.0}
    hamming = (bits[:, None] != bits[None]).sum(-1)
    torch.testing.assert_close(bits @ bits.T, (13 - 2 * hamming).float())
    assert [bytes_per_vector(d) for d in (1, 8, 13, 256, 1024)] == [1, 1, 2, 32, 128]


def test_top_k_breaks_ties_by_the_higher_number():
    scores = torch.randint(0, 4, (50, 37), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 5, 36, 37, 99):
        got = top_k(scores, k).tolist()
        want = [sorted(range(37), key=lambda j: (-row[j].item(), -j))[:k] for row in scores]
        assert got == want


def test_widths_and_orders():
    assert widths(1024) == [32, 64, 128, 256, 512, 1024]
    assert widths(384) == [48, 96, 192, 384]
    assert widths(20) == [20]
    for order in random_orders(16, 3):
        assert sorted(order.tolist()) == list(range(16))
    torch.testing.assert_close(cut(torch.randn(5, 8), 4).norm(dim=1), torch.ones(5))
