"""The objective of each row, against torch's cross-entropy."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tempembed.losses.contrastive import contrastive_loss
from tempembed.objectives.term import Term

TERMS = (Term(dim=8, temperature=0.05), Term(dim=16, temperature=0.1, weight=0.5), Term(dim=16, temperature=0.2))  # fmt: skip


@pytest.mark.parametrize("direction", ["query-to-document", "document-to-query", "both"])
def test_rows_are_those_of_cross_entropy(direction, monkeypatch):
    monkeypatch.setattr("tempembed.losses.blocks.STRIP_BYTES", 4 * 40 * 7)  # several strips
    torch.manual_seed(0)
    q, d, n = torch.randn(3, 40, 16).double()
    q.requires_grad_()
    negatives = n[None] if direction != "document-to-query" else None
    loss = contrastive_loss(q, d, TERMS, hard_negatives_NBD=negatives, direction=direction, rows=True)
    asking, columns = (d, q) if direction == "document-to-query" else (q, torch.cat([d, n]))
    want = torch.zeros(40).double()
    for term in TERMS:
        cosines = normalize(asking[:, : term.dim], dim=1) @ normalize(columns[:, : term.dim], dim=1).T
        want += term.weight * cross_entropy(cosines / term.temperature, torch.arange(40), reduction="none")
    torch.testing.assert_close(loss.rows_B, want.detach())
    assert not loss.rows_B.requires_grad
    plain = contrastive_loss(q, d, TERMS, hard_negatives_NBD=negatives, direction=direction)
    assert plain.rows_B is None
    assert torch.equal(plain.objective, loss.objective)
