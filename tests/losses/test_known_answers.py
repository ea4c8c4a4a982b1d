"""What the data lists as right anywhere, and a query's own text, are no negatives: in any role, direction, rank."""

import math

import pytest
import torch

from tempembed.losses import blocks as blocks_module
from tempembed.losses.contrastive import DIRECTIONS, TextIds, contrastive_loss
from tempembed.losses.masks import FalseNegatives
from tempembed.objectives.term import Hardness, Term
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.pool import run_on_ranks

TERMS = (Term(dim=4, temperature=0.05), Term(dim=16, temperature=0.2, weight=0.5))
A, B, C, D, E, X, Y = range(7)


def ids(*values):
    return torch.tensor(values)


def random_batch(num=9, columns=3, texts=12, seed=0):
    """Embeddings of every column, and ids of texts that come in all roles."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = [
        torch.randn(num, 16, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(columns)
    ]
    return embeddings, torch.randint(0, texts, (columns, num), generator=generator)


def partners(pairs):
    """Every row's further answers as (row, id): of all pairs of the data, by the formula."""
    found = [(row, d) for row, (q, _) in enumerate(pairs) for query, d in sorted(set(pairs)) if query == q]
    rows, texts = zip(*found, strict=True)
    return torch.tensor(rows), torch.tensor(texts)


def by_the_rule(pairs, negatives, listed):
    """Row x candidate: its text is the query's own, or listed as an answer of the query; not the positive."""
    texts = [d for _, d in pairs] + negatives
    return [
        [j != i and (text == q or (q, text) in listed) for j, text in enumerate(texts)]
        for i, (q, _) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("pairs", "negatives", "elsewhere", "masked"),
    [
        ([(A, B), (B, A)], [], [], 2),  # both orders: each candidate is the other's own query
        ([(A, B), (A, C)], [], [], 2),  # two answers of one query
        ([(A, X), (B, X)], [], [], 2),  # one answer of two queries
        ([(A, B), (C, D)], [], [(A, D)], 1),  # the pair itself is in a row outside the batch
        ([(A, B), (C, D)], [], [(A, D), (C, B)], 2),
        ([(A, B), (C, D)], [D, A], [(A, D)], 4),  # a hard negative that is another row's answer of the query; its own text
        ([(A, B), (C, D)], [B, X], [], 1),  # a hard negative that is the positive
        ([(A, B), (C, D)], [X, C], [], 1),  # a hard negative that is the query, of its own row
        ([(A, B), (C, D)], [C, X], [], 1),  # and of another's
        ([(A, B), (A, C)], [C, B], [], 2 + 4),  # answers of one query as hard negatives of each other's row
        ([(A, A), (C, D)], [], [], 0),  # a query that is its own answer keeps it
        ([(A, B), (C, D)], [X, Y], [(E, D)], 0),  # nothing to mask
    ],
)  # fmt: skip
def test_the_rule_by_cases(pairs, negatives, elsewhere, masked):
    listed = {*pairs, *elsewhere}
    want = by_the_rule(pairs, negatives, listed)
    assert sum(map(sum, want)) == masked
    rows, texts = partners([*pairs, *elsewhere])
    mine = rows < len(pairs)
    found = FalseNegatives(
        ids(*[q for q, _ in pairs]), ids(*[d for _, d in pairs], *negatives), torch.arange(len(pairs)),
        (rows[mine], texts[mine]),
    )  # fmt: skip
    assert found.matrix().tolist() == want
    assert found.count() == masked


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_negatives", [0, 1, 2])
def test_the_mask_of_random_texts_is_the_rule_block_by_block(seed, num_negatives):
    _, texts = random_batch(columns=2 + num_negatives, num=20, seed=seed)
    pairs = list(zip(*texts[:2].tolist(), strict=True))
    elsewhere = [(q, (q * 7 + seed) % 12) for q in range(12)]
    answers = partners([*pairs, *elsewhere])
    mine = answers[0] < len(pairs)
    masks = FalseNegatives(
        texts[0], texts[1:].flatten(), torch.arange(20), (answers[0][mine], answers[1][mine])
    )
    want = by_the_rule(pairs, texts[2:].flatten().tolist(), {*pairs, *elsewhere})
    assert masks.matrix().tolist() == want
    for low, high in ((0, 7), (7, 20), (19, 20)):
        block = torch.zeros(high - low, len(want[0]), dtype=torch.bool)
        block[masks.places(low, high)] = True
        assert block.tolist() == want[low:high]


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pairs_in_both_orders_have_nothing_to_lose(direction, dense):
    """Each text beside its partner: perfect embeddings have a loss of 0; the own text as a negative holds it at ln 2."""
    halves = torch.eye(8, dtype=torch.float64)
    q = torch.cat([halves, halves]).requires_grad_()
    d = torch.cat([halves, halves]).requires_grad_()
    texts = TextIds(queries_B=torch.arange(16), documents_B=torch.arange(16).roll(8))
    terms = (Term(dim=8, temperature=0.05),)
    options = {"direction": direction, "dense": dense}
    loss = contrastive_loss(q, d, terms, ids=texts, **options)
    assert loss.num_masked == 16
    assert loss.objective.item() < 1e-6
    assert contrastive_loss(q, d, terms, **options).objective.item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_a_query_is_as_right_for_a_document_as_the_document_for_the_query(dense):
    """(a, d) is listed, (c, b) is not: one place of each direction, the other's transposed."""
    (q, d), _ = random_batch(num=2, columns=2)
    there = TextIds(queries_B=ids(A, C), documents_B=ids(B, D), known=(ids(0), ids(D)))
    back = TextIds(queries_B=ids(A, C), documents_B=ids(B, D), known=(ids(1), ids(A)))
    loss = {
        direction: contrastive_loss(q, d, TERMS, ids=known, direction=direction, dense=dense)
        for direction, known in (("query-to-document", there), ("document-to-query", back), ("both", there))
    }
    assert [one.num_masked.item() for one in loss.values()] == [1, 1, 1]
    mean = (loss["query-to-document"].terms_T + loss["document-to-query"].terms_T) / 2
    torch.testing.assert_close(loss["both"].terms_T, mean)
    free = contrastive_loss(q, d, TERMS, direction="both", dense=dense).terms_T
    assert (loss["both"].terms_T < free).all()


@pytest.mark.parametrize("hardness", [Hardness(), Hardness(beta=1.0, tau_plus=0.05), Hardness(beta=0.5)])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("blocks", ["whole", "small"])
def test_tiled_equals_dense_with_masks_that_are_not_symmetric(monkeypatch, direction, hardness, blocks):
    num_negatives = 0 if direction == "document-to-query" else 1
    if blocks == "small":
        monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 0)
        monkeypatch.setattr(blocks_module, "STRIP_BYTES", 2 * 18 * 8)
    found = []
    for dense in (True, False):
        (q, d, *n), texts = random_batch(columns=2 + num_negatives, num=11)
        log_scale = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        loss = contrastive_loss(
            q, d, TERMS, direction=direction, hardness=hardness, dense=dense,
            hard_negatives_NBD=torch.stack(n) if n else None,
            temperatures_T=torch.tensor([0.05, 0.2], dtype=torch.float64) * log_scale.exp(),
            ids=TextIds(
                queries_B=texts[0], documents_B=texts[1], hard_negatives_NB=texts[2:] if n else None,
                known=(ids(0, 0, 3, 5, 9), ids(1, 7, 2, 2, 11)),
            ),
        )  # fmt: skip
        loss.objective.backward()
        assert loss.num_masked > 11
        found.append([loss.terms_T, q.grad, d.grad, *(x.grad for x in n), log_scale.grad])
    for dense, tiled in zip(*found, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-10, atol=1e-13)


def test_known_answers_that_are_not_in_the_batch_change_no_bit():
    def step(**more):
        (q, d, n), _ = random_batch()
        texts = TextIds(
            queries_B=torch.arange(9), documents_B=torch.arange(9) + 20,
            hard_negatives_NB=torch.arange(9)[None] + 40, **more,
        )  # fmt: skip
        loss = contrastive_loss(q, d, TERMS, hard_negatives_NBD=n[None], ids=texts, direction="both")
        loss.objective.backward()
        assert loss.num_masked == 0
        return [loss.terms_T, q.grad, d.grad, n.grad]

    plain, known = step(), step(known=(torch.arange(9), torch.arange(9) + 60))
    assert all(torch.equal(a, b) for a, b in zip(plain, known, strict=True))


def masked_on_a_rank(direction: str) -> tuple[int, float, list[torch.Tensor]]:
    """Rank 0 has the pairs in one order, rank 1 in the other; (0, 9) is listed elsewhere."""
    rank, world_size = rank_and_world_size()
    (q, d), _ = random_batch(num=8, columns=2)
    queries, documents = torch.arange(8), torch.arange(8).roll(4)
    documents[5] = 9
    local = 8 // world_size
    mine = slice(rank * local, rank * local + local)
    row, text = (ids(5), ids(0)) if direction == "document-to-query" else (ids(0), ids(9))
    here = (row >= mine.start) & (row < mine.stop)
    loss = contrastive_loss(
        q[mine], d[mine], TERMS, direction=direction,
        ids=TextIds(
            queries_B=queries[mine], documents_B=documents[mine], known=(row[here] - mine.start, text[here])
        ),
    )  # fmt: skip
    loss.objective.backward()
    return loss.num_masked.item(), loss.objective.item(), [q.grad[mine], d.grad[mine]]


def masked_in_each_direction() -> list[tuple[int, float, list[torch.Tensor]]]:
    return [masked_on_a_rank(direction) for direction in DIRECTIONS]


@pytest.mark.gloo
def test_candidates_of_other_ranks_are_masked_too():
    ranks = run_on_ranks(2, masked_in_each_direction)
    for (masked, value, gradients), *parts in zip(masked_in_each_direction(), *ranks, strict=True):
        # in both orders but for the pair (1, 9) in place of (5, 1); and (0, 9)
        assert masked == sum(part[0] for part in parts) == 8 - 1 + 1
        assert sum(part[1] for part in parts) / 2 == pytest.approx(value, rel=1e-12)
        for k, whole in enumerate(gradients):
            together = torch.cat([part[2][k] for part in parts]) / 2
            torch.testing.assert_close(together, whole, rtol=1e-10, atol=1e-14)
