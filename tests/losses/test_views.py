"""Terms on signs: the rule of the codecs, the clip, and what must be seen if it were otherwise."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from tempembed.codecs.bits import SignBits
from tempembed.codecs.integers import Int4, Int8
from tempembed.diagnostics import selfcheck
from tempembed.losses import nested, views
from tempembed.losses.contrastive import contrastive_loss
from tempembed.objectives.margin import Margin
from tempembed.objectives.parse import parse_terms
from tempembed.system.errors import UserError

TERMS = parse_terms(["4@0.05:sign*2", "16@0.1:bits", "8@0.05"], 16)
CASE = selfcheck.Case(direction="both", masks=True, views=True)
NUMBERS = selfcheck.Case(direction="both", masks=True, integers=True)


def embeddings(seed=0, zeros=False, width=16):
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(9, width, generator=generator, dtype=torch.float64) for _ in range(2)]
    if zeros:
        for each in found:
            each[::2, 1] = 0
    return [each.requires_grad_() for each in found]


def gradients(dense, zeros=False, terms=TERMS, direction="both"):
    q, d = embeddings(zeros=zeros)
    loss = contrastive_loss(q, d, terms, direction=direction, dense=dense)
    loss.objective.backward()
    return [loss.terms_T, q.grad, d.grad]


def test_signs_are_those_that_the_codec_stores():
    x = torch.cat([torch.randn(5, 16), torch.zeros(1, 16), -torch.zeros(1, 16)])
    assert views.signs(x).equal(SignBits(16).query(x))


def outliers(rows=400, width=16):
    """Unit vectors, a few with a coordinate that int4 clips."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    x[::100, 2] *= 30
    return normalize(x, dim=1)


@pytest.mark.parametrize("codec", [Int8, Int4])
def test_integers_are_those_that_the_codec_stores(codec):
    x = outliers()
    fitted = codec(16)
    fitted.fit(x)
    values, passes = views.as_integers(x, x, codec.bits)
    stored = fitted.decode(fitted.encode(x))
    torch.testing.assert_close(values, stored, rtol=0, atol=0)
    clipped = (stored - x).abs() > fitted.state["step"] * 0.502
    assert passes.equal(~clipped)
    assert clipped.any() == (codec is Int4)
    double, _ = views.as_integers(x.double(), x.double(), codec.bits)
    assert double.dtype == torch.float64


@pytest.mark.parametrize("view", ["int8", "int4"])
def test_the_gradient_of_integers_passes_straight_through(view):
    """The gradient at the stored numbers is that of the floats, but for what was clipped; then through the norm of the whole."""
    d = normalize(outliers(200).double(), dim=1).requires_grad_()
    q = torch.randn(200, 16, generator=torch.Generator().manual_seed(1)).double()
    dim, tau = 4, 0.1
    stored, passes = views.as_integers(d.detach(), d.detach(), views.BITS[view])
    leaf = stored.clone().requires_grad_()
    cosines = normalize(q[:, :dim], dim=1) @ normalize(leaf[:, :dim], dim=1).T
    loss = torch.nn.functional.cross_entropy(cosines / tau, torch.arange(200))
    (want,) = torch.autograd.grad(loss, leaf)
    want = want * passes
    want -= (want * d).sum(1, keepdim=True) * d
    got = contrastive_loss(q, d, parse_terms([f"{dim}@{tau}:{view}", "16@0.1*0"], 16))
    got.objective.backward()
    assert got.objective.item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(d.grad, want.detach(), rtol=1e-8, atol=1e-12)


def test_values_are_cosines_of_codes():
    """A term on signs is InfoNCE on what Hamming search compares; on bits, on what re-ranking compares."""
    q, d = (x.detach() for x in embeddings())
    codec = SignBits(16)
    for view, left in (("sign", codec.query(q)), ("bits", q)):
        cosines = normalize(left.double(), dim=1) @ codec.query(d).double().T / 4
        want = torch.nn.functional.cross_entropy(cosines / 0.05, torch.arange(9)).item()
        for dense in (True, False):
            got = contrastive_loss(q, d, parse_terms([f"16@0.05:{view}"], 16), dense=dense).objective
            assert got.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("view", ["sign", "bits"])
def test_the_gradient_is_that_of_the_clipped_line(view):
    """With one term, d loss / d sign times root D / root dim inside the clip, and 0 outside it, at a prefix too."""
    q, d = (normalize(x.detach(), dim=1).requires_grad_() for x in embeddings())
    dim, tau = 4, 0.1
    h = [torch.where(x[:, :dim] > 0, 1.0, -1.0).double().requires_grad_() for x in (q, d)]
    left = normalize(q[:, :dim], dim=1) if view == "bits" else h[0] / math.sqrt(dim)
    loss = torch.nn.functional.cross_entropy(left @ h[1].T / math.sqrt(dim) / tau, torch.arange(9))
    (on_signs,) = torch.autograd.grad(loss, h[1])
    inside = d[:, :dim].abs() <= 1 / 4
    want = torch.zeros(9, 16).double()
    want[:, :dim] = on_signs * inside * 4
    want -= (want * d).sum(1, keepdim=True) * d  # through the norm of the whole
    assert 0 < inside.sum() < inside.numel()
    terms = parse_terms([f"{dim}@{tau}:{view}", "16@0.1*0"], 16)
    contrastive_loss(q, d, terms).objective.backward()
    torch.testing.assert_close(d.grad, want.detach())


@pytest.mark.parametrize("direction", ["query-to-document", "both"])
def test_zeros_have_the_sign_of_the_codec_in_both_engines(direction):
    assert selfcheck.error(gradients(False, True, direction=direction), gradients(True, True, direction=direction)) < 1e-10  # fmt: skip


def test_several_blocks_and_strips_are_one(monkeypatch):
    whole = gradients(False)
    monkeypatch.setattr("tempembed.losses.blocks.BLOCK_BYTES", 0)
    monkeypatch.setattr("tempembed.losses.blocks.STRIP_BYTES", 2 * 9 * 8)
    for a, b in zip(gradients(False), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


INTEGERS = parse_terms(["4@0.05:int4*2", "16@0.1:int8", "16@0.05:int4", "8@0.05"], 16)


def spread(dense):
    d = normalize(outliers(200).double(), dim=1).requires_grad_()
    q = torch.randn(200, 16, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    loss = contrastive_loss(q, d, INTEGERS, direction="both", dense=dense)
    loss.objective.backward()
    return [loss.terms_T, q.grad, d.grad]


INTEGER_MUTATIONS = {
    "what is clipped passes": lambda values, floats: values,
    "nothing is rounded": lambda values, floats: floats,
}


@pytest.mark.parametrize("mutation", [None, *INTEGER_MUTATIONS])
def test_the_check_of_integers_sees(mutation, monkeypatch):
    want = spread(True)
    if mutation:
        whole, change = views.as_integers, INTEGER_MUTATIONS[mutation]

        def broken(x, documents, bits):
            values, passes = whole(x, documents, bits)
            return change(values, x), torch.ones_like(passes)

        monkeypatch.setattr(views, "as_integers", broken)
    error = selfcheck.error(spread(False), want)
    assert error > 1e-3 if mutation else error < 1e-10


MUTATIONS = {
    "no clip": ("inside_clip", lambda x, widest: torch.ones_like(x, dtype=torch.bool)),
    "a clip of the prefix": ("inside_clip", lambda x, widest: x.abs() <= 4**-0.5),
    "the sign of 0 is +1": ("signs", lambda x: torch.where(x >= 0, 1.0, -1.0).to(x.dtype)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_sees(mutation, monkeypatch):
    want = gradients(True, zeros=True)
    monkeypatch.setattr(views, *MUTATIONS[mutation])
    assert selfcheck.error(gradients(False, zeros=True), want) > 1e-3


@pytest.mark.parametrize("method", ["_inverse_rows", "_correct", "_other_direction", "_accumulated"])
@pytest.mark.parametrize("case", [CASE, NUMBERS])
def test_selfcheck_with_views_sees_a_broken(case, method, monkeypatch):
    want, _ = selfcheck.gradients(case, dense=True)
    assert selfcheck.error(selfcheck.gradients(case)[0], want) < 1e-10
    broken = {
        "_inverse_rows": lambda run: torch.ones(len(run.levels), run.num_rows, dtype=run.dtype),
        "_accumulated": lambda _, parts: list(parts),
    }
    monkeypatch.setattr(nested.Run, method, broken.get(method, lambda *_: None))
    assert selfcheck.error(selfcheck.gradients(case)[0], want) > 1e-3


def test_masks_by_similarity_go_by_floats_where_no_term_has_them():
    q, d = embeddings()
    terms, margin = parse_terms(["4@0.05:sign"], 16), Margin(absolute=0.3)
    found = []
    for dense in (True, False):
        q.grad = d.grad = None
        loss = contrastive_loss(q, d, terms, margin=margin, dense=dense)
        loss.objective.backward()
        found.append([loss.terms_T, q.grad.clone(), d.grad.clone(), loss.num_masked.double()])
    assert 0 < found[0][-1] < 9 * 8
    assert selfcheck.error(found[1], found[0]) < 1e-10


def test_rows_of_views_add_up_to_the_objective():
    q, d = embeddings()
    loss = contrastive_loss(q, d, TERMS, rows=True)
    assert loss.rows_B.mean().item() == pytest.approx(loss.objective.item(), rel=1e-12)


def test_measures_of_the_clip():
    even = torch.ones(3, 4) * torch.tensor([[1.0], [2.0], [0.5]])
    assert views.clip_measures(even * 0.999, 4)["scale_variation"].item() == pytest.approx(0, abs=1e-6)
    one_hot = torch.eye(4)[:1].expand(3, 4)
    found = views.clip_measures(one_hot, 4)
    assert found["inside_clip"].item() == 0.75
    assert found["scale_variation"].item() == pytest.approx(math.sqrt(3), rel=1e-6)


def test_bits_need_a_query_that_asks():
    q, d = embeddings()
    with pytest.raises(UserError, match=r"term 16@0.1:bits: expected --direction query-to-document or both"):
        contrastive_loss(q, d, TERMS, direction="document-to-query")
    with pytest.raises(UserError, match=r"term 16@0.1:int8: expected --direction query-to-document or both"):
        contrastive_loss(q, d, INTEGERS[1:], direction="document-to-query")
