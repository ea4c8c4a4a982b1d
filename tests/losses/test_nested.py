"""The tiled engine against the dense oracle."""

import pytest
import torch

from tempembed.diagnostics import selfcheck
from tempembed.losses import blocks, nested
from tempembed.losses.contrastive import TextIds, contrastive_loss
from tempembed.objectives.term import Hardness, Term
from tempembed.system.errors import UserError

TERMS = (
    Term(dim=4, temperature=0.05),
    Term(dim=8, temperature=0.2, weight=0.5),
    Term(dim=16, temperature=0.05),
)


def embeddings(num: int, batch: int = 9, width: int = 16, seed: int = 0, dtype=torch.float64) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, generator=generator, dtype=dtype).requires_grad_() for _ in range(num)]


def test_tiled_equals_dense_and_cached_equals_plain():
    checks = list(selfcheck.one_process())
    assert len(checks) > 90
    assert not [str(check) for check in checks if not check.holds]


def test_the_check_can_fail(monkeypatch):
    case = selfcheck.Case(direction="both", learned=True)
    want, _ = selfcheck.gradients(case, dense=True)
    monkeypatch.setattr(nested.Run, "_scale_gradient_of_prefix", lambda *_: None)
    assert selfcheck.error(selfcheck.gradients(case)[0], want) > 1e-3


@pytest.mark.parametrize("direction", ["query-to-document", "both"])
def test_blocks_and_strips_do_not_matter(monkeypatch, direction):
    ids = torch.tensor([0, 1, 2, 0, 4, 5, 1, 7, 8])

    def gradient():
        q, d, n = embeddings(3)
        loss = contrastive_loss(
            q, d, TERMS, hard_negatives_NBD=n[None], direction=direction, hardness=Hardness(beta=0.5),
            ids=TextIds(queries_B=ids, documents_B=ids + 100, hard_negatives_NB=ids[None] + 101),
        )  # fmt: skip
        loss.objective.backward()
        return [loss.terms_T, q.grad, d.grad, n.grad]

    whole = gradient()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 0)
    monkeypatch.setattr(blocks, "STRIP_BYTES", 2 * 18 * 8)
    for a, b in zip(gradient(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_a_row_whose_negatives_are_all_masked_adds_nothing():
    q, d = embeddings(2)
    same = torch.zeros(9, dtype=torch.long)
    ids = TextIds(queries_B=same, documents_B=torch.arange(9))
    for dense in (False, True):
        for hardness in (Hardness(), Hardness(beta=1, tau_plus=0.1)):
            q.grad = d.grad = None
            loss = contrastive_loss(q, d, TERMS, ids=ids, dense=dense, hardness=hardness)
            loss.objective.backward()
            assert loss.num_masked == 9 * 8
            assert loss.terms_T.tolist() == [0, 0, 0]
            assert q.grad.abs().max() == d.grad.abs().max() == 0


def test_masks_find_equal_positives_and_positives_of_equal_queries():
    q, d, n = embeddings(3, batch=4)
    queries, documents = torch.tensor([0, 0, 1, 2]), torch.tensor([10, 11, 12, 10])
    ids = TextIds(queries_B=queries, documents_B=documents, hard_negatives_NB=torch.tensor([[9, 12, 8, 7]]))
    loss = contrastive_loss(q, d, TERMS, hard_negatives_NBD=n[None], ids=ids)
    # rows 0 and 1 share a query, rows 0 and 3 a document, row 2's document is row 1's hard negative
    assert loss.num_masked == 2 + 2 + 1


def test_beta_zero_is_infonce_and_beta_weighs_the_hard():
    q, d = embeddings(2)
    plain = contrastive_loss(q, d, TERMS).terms_T
    tiny = contrastive_loss(q, d, TERMS, hardness=Hardness(beta=1e-12)).terms_T
    hard = contrastive_loss(q, d, TERMS, hardness=Hardness(beta=1.0)).terms_T
    torch.testing.assert_close(tiny, plain, rtol=1e-9, atol=0)
    assert (hard > plain).all()


def test_debiased_loss_equals_its_formula():
    """Robinson et al. 2021, their code: Ng = max((-tau_plus N p + reweighted) / (1 - tau_plus), N e^(-1/tau))."""
    q, d = embeddings(2)
    tau, beta, tau_plus = 0.5, 0.7, 0.1
    x, y = (torch.nn.functional.normalize(e, dim=1) for e in (q, d))
    values = (x @ y.T / tau).exp()
    losses = []
    for i in range(9):
        p, n = values[i, i], torch.cat([values[i, :i], values[i, i + 1 :]])
        reweighted = (n**beta * n).sum() / (n**beta).mean()
        ng = ((reweighted - tau_plus * 8 * p) / (1 - tau_plus)).clamp_min(8 * torch.tensor(-1 / tau).exp())
        losses.append(-(p / (p + ng)).log())
    got = contrastive_loss(
        q, d, (Term(dim=16, temperature=tau),), hardness=Hardness(beta=beta, tau_plus=tau_plus)
    )
    assert got.objective.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_small_temperature_does_not_overflow():
    q, d = embeddings(2, dtype=torch.float32)
    loss = contrastive_loss(q, d, (Term(dim=16, temperature=0.001),), direction="both")
    loss.objective.backward()
    assert loss.objective.isfinite()
    assert q.grad.isfinite().all()


def test_bfloat16_embeddings_are_summed_in_float32():
    q, d = embeddings(2, batch=33, dtype=torch.float32)
    low = [x.detach().bfloat16().requires_grad_() for x in (q, d)]
    loss = contrastive_loss(*low, TERMS)
    loss.objective.backward()
    same = [x.detach().float().requires_grad_() for x in low]
    exact = contrastive_loss(*same, TERMS, dense=True)
    exact.objective.backward()
    assert loss.objective.dtype == torch.float32
    assert low[0].grad.dtype == torch.bfloat16
    # the unit vectors are rounded to bfloat16, which at tau = 0.05 is 0.004 / 0.05 of a logit
    torch.testing.assert_close(loss.terms_T, exact.terms_T, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "sideways"}, "expected one of query-to-document"),
        ({"terms": (Term(dim=32, temperature=0.1),)}, "dims up to 16, the width of the embeddings, got 32"),
        ({"batch": 1}, "expected at least one negative, got 1 pair"),
        ({"direction": "document-to-query", "negatives": True}, "expected no hard negatives"),
    ],
)
def test_bad_input(change, message):
    q, d, n = embeddings(3, batch=change.get("batch", 9))
    with pytest.raises(UserError, match=message):
        contrastive_loss(
            q, d, change.get("terms", TERMS), direction=change.get("direction", "both"),
            hard_negatives_NBD=n[None] if change.get("negatives") else None,
        )  # fmt: skip


@pytest.mark.parametrize(("values", "flag"), [({"beta": -1}, "--beta"), ({"tau_plus": 1.0}, "--tau-plus")])
def test_bad_hardness(values, flag):
    with pytest.raises(UserError, match=flag):
        Hardness(**values)
