import math

import numpy as np
import pytest
import torch

from tempembed.losses.contrastive import contrastive_loss
from tempembed.losses.reference import nested_infonce
from tempembed.objectives.term import Term


def loop_infonce(queries, candidates, positives, dim, tau):
    """Equation 1 as loops in NumPy."""
    total = 0.0
    for query, positive in zip(queries, positives, strict=True):
        q = query[:dim] / np.sqrt((query[:dim] ** 2).sum())
        sims = [float(q @ (c[:dim] / np.sqrt((c[:dim] ** 2).sum()))) for c in candidates]
        total += -math.log(math.exp(sims[positive] / tau) / sum(math.exp(s / tau) for s in sims))
    return total / len(queries)


@pytest.mark.parametrize("tau", [0.03, 0.4])
@pytest.mark.parametrize("dim", [3, 8])
def test_equals_the_loop(dim, tau):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    candidates = torch.randn(11, 8, generator=generator, dtype=torch.float64)
    positives = torch.tensor([3, 0, 7, 10, 2])
    terms = (Term(dim=8, temperature=0.2), Term(dim=dim, temperature=tau + 1e-4))
    got = nested_infonce(queries, candidates, positives, terms)[1].item()
    want = loop_infonce(queries.numpy(), candidates.numpy(), positives.tolist(), dim, tau + 1e-4)
    assert got == pytest.approx(want, rel=1e-12)


def test_identical_embeddings_give_log_of_the_candidates():
    ones = torch.ones(6, 4)
    loss = nested_infonce(ones, ones, torch.arange(6), (Term(dim=4, temperature=0.05),))
    assert loss.item() == pytest.approx(math.log(6), rel=1e-6)


def test_limits_of_the_temperature():
    """docs/design/paper.md eqs. 2 and 3: triplet with margin 0, and all negatives alike."""
    generator = torch.Generator().manual_seed(1)
    q, d = torch.nn.functional.normalize(
        torch.randn(2, 7, 16, generator=generator, dtype=torch.float64), dim=-1
    )
    s = q @ d.T
    cold = nested_infonce(q, d, torch.arange(7), (Term(dim=16, temperature=1e-3),)).item() * 1e-3
    hardest = s.masked_fill(torch.eye(7, dtype=torch.bool), -2).max(1).values
    assert cold == pytest.approx((hardest - s.diag()).clamp_min(0).mean().item(), abs=2e-3)
    tau = 1e3
    hot = nested_infonce(q, d, torch.arange(7), (Term(dim=16, temperature=tau),)).item()
    others = (s.sum(1) - s.diag()) / (7 * tau)
    assert hot == pytest.approx((-(6 / (7 * tau)) * s.diag() + others + math.log(7)).mean().item(), abs=1e-6)


def test_bfloat16_embeddings_are_summed_in_float32():
    x = torch.randn(4, 8).bfloat16()
    assert nested_infonce(x, x, torch.arange(4), (Term(dim=8, temperature=0.01),)).dtype == torch.float32


@pytest.mark.parametrize("dense", [True, False])
def test_a_missing_hard_negative_is_no_candidate(dense):
    generator = torch.Generator().manual_seed(2)
    q, d, n = torch.randn(3, 4, 8, generator=generator)
    terms = (Term(dim=8, temperature=0.1),)
    none = contrastive_loss(q, d, terms, dense=dense).objective
    absent = torch.zeros(1, 4, dtype=torch.bool)
    negatives = {"hard_negatives_NBD": n[None], "dense": dense}
    assert contrastive_loss(q, d, terms, has_negative_NB=absent, **negatives).objective.equal(none)
    assert contrastive_loss(q, d, terms, **negatives).objective.item() > none.item()


@pytest.mark.parametrize("dense", [True, False])
def test_both_is_the_mean_of_the_directions(dense):
    q, d = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(3))
    terms = (Term(dim=4, temperature=0.1), Term(dim=8, temperature=0.3))
    both, there, back = (
        contrastive_loss(q, d, terms, direction=direction, dense=dense).terms_T
        for direction in ("both", "query-to-document", "document-to-query")
    )
    torch.testing.assert_close(both, (there + back) / 2)
    assert not there.allclose(back)
