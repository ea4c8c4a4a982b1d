"""The GPU's kernels against torch's own operators; without a GPU by Triton's interpreter. `selfcheck` compares both with the dense

oracle.
"""

import os

import pytest
import torch

from tempembed.diagnostics import selfcheck
from tempembed.losses import blocks, nested
from tempembed.losses.contrastive import TextIds, contrastive_loss
from tempembed.objectives.parse import parse_terms
from tempembed.objectives.term import Hardness, Term

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton")
pytest.importorskip("triton.language")
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # of the interpreter

TERMS = (
    Term(dim=16, temperature=0.05),
    Term(dim=4, temperature=0.05),
    Term(dim=8, temperature=0.2, weight=0.5),
    Term(dim=4, temperature=0.3),
)
VIEWS = parse_terms(
    ["8@0.1", "4@0.05:sign", "16@0.05:sign*2", "4@0.2:bits", "16@0.05:bits", "4@0.2:int4", "16@0.05:int8"], 16
)
BATCH = 37 if DEVICE == "cuda" else 19
SAME, OTHER = torch.zeros(BATCH, dtype=torch.long), torch.arange(BATCH)


@pytest.mark.parametrize("block_rows", [BATCH, 16])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"hardness": Hardness(tau_plus=0.1)},
        {"hardness": Hardness(beta=1.0, tau_plus=0.1), "queries": SAME},  # no row has a negative
        {"queries": OTHER // 2},
        {"zero": True},
        {"terms": VIEWS, "queries": OTHER // 2, "zero": True},
        {"terms": VIEWS, "hardness": Hardness(beta=1.0, tau_plus=0.1), "dtype": torch.float32},
        {"terms": (Term(dim=16, temperature=0.001), Term(dim=8, temperature=0.01)), "dtype": torch.float32},
    ],
)
def test_kernels_equal_operators(monkeypatch, case, block_rows):
    monkeypatch.setattr(blocks, "block_and_strip", lambda *_: (block_rows, block_rows))
    if DEVICE == "cpu" and (case.get("terms") is not VIEWS or block_rows == BATCH):
        pytest.skip("there is no GPU, and the interpreter is slow")
    from tempembed.losses.fused import FusedRun

    monkeypatch.setattr(nested, "_kind_of_run", lambda *_: FusedRun)
    dtype = case.get("dtype", torch.float64)

    def gradients():
        generator = torch.Generator().manual_seed(0)
        q, d = (torch.randn(BATCH, 16, generator=generator, dtype=dtype) for _ in range(2))
        if case.get("zero"):
            q[2, :4], d[5, :8] = 0, 0
        q, d = (x.to(DEVICE).requires_grad_() for x in (q, d))
        ids = None
        if "queries" in case:
            ids = TextIds(queries_B=case["queries"].to(DEVICE), documents_B=OTHER.to(DEVICE))
        loss = contrastive_loss(
            q, d, case.get("terms", TERMS), ids=ids, hardness=case.get("hardness", Hardness())
        )
        loss.objective.backward()
        return [loss.terms_T, q.grad, d.grad]

    fused = gradients()
    again = gradients()
    monkeypatch.setattr(nested, "_kind_of_run", lambda *_: nested.Run)
    assert all(torch.equal(a, b) for a, b in zip(fused, again, strict=True))
    assert selfcheck.error(fused, gradients()) < (1e-10 if dtype == torch.float64 else 1e-5)


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
def test_bfloat16_embeddings_are_summed_in_float32():
    generator = torch.Generator().manual_seed(0)
    q, d = (torch.randn(BATCH, 16, generator=generator).bfloat16().cuda().requires_grad_() for _ in range(2))
    loss = contrastive_loss(q, d, TERMS)
    loss.objective.backward()
    exact = [x.detach().double().requires_grad_() for x in (q, d)]
    want = contrastive_loss(*exact, TERMS, dense=True)
    want.objective.backward()
    assert loss.objective.dtype == torch.float32
    torch.testing.assert_close(loss.terms_T.double(), want.terms_T, rtol=0.02, atol=0.02)
    assert q.grad.dtype == torch.bfloat16
    assert selfcheck.error([q.grad.double(), d.grad.double()], [x.grad for x in exact]) < 0.1
