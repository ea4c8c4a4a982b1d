"""Masks by similarity against their formulas and sentence-transformers' GISTEmbedLoss; in blocks, directions, over ranks."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from tempembed.diagnostics import selfcheck
from tempembed.losses import blocks
from tempembed.losses.contrastive import DIRECTIONS, TextIds, contrastive_loss
from tempembed.losses.margins import Guide
from tempembed.objectives.margin import Margin
from tempembed.objectives.term import Hardness, Term
from tempembed.parallel.pool import run_on_ranks

BATCH, WIDTH = 12, 16
TERMS = (Term(dim=4, temperature=0.05), Term(dim=16, temperature=0.2, weight=0.5))
WIDEST = (Term(dim=16, temperature=0.05),)


def texts(seed=0, batch=BATCH, width=WIDTH, negatives=1):
    """Queries, documents near them, hard negatives that are nearer still for some."""
    generator = torch.Generator().manual_seed(seed)
    q, d, *n = torch.randn(2 + negatives, batch, width, generator=generator, dtype=torch.float64)
    d = d + 0.7 * q
    n = [one + 0.9 * q for one in n]
    return [x.clone().requires_grad_() for x in (q, d, *n)]


def guide(margin, seed=5, negatives=1):
    q, d, *n = (x.detach() for x in texts(seed, width=7, negatives=negatives))
    return Guide(
        queries_BE=q, documents_BE=d, hard_negatives_NBE=torch.stack(n) if n else None, margin=margin
    )


def cosines(queries, candidates):
    return F.normalize(queries, dim=1) @ F.normalize(candidates, dim=1).T


def loss_of_rows(queries, candidates, masked, tau):
    """InfoNCE by its formula, row by row; the positive of row i is candidate i."""
    logits, losses = cosines(queries, candidates) / tau, []
    for i in range(len(queries)):
        kept = [j for j in range(len(candidates)) if j == i or not masked[i][j]]
        losses.append(logits[i, kept].logsumexp(0) - logits[i, i])
    return torch.stack(losses).mean()


def nearer(queries, candidates, margin):
    """Row x candidate: it is nearer than the positive by more than `margin` allows."""
    found = cosines(queries, candidates).tolist()
    return [[j != i and s > row[i] + margin for j, s in enumerate(row)] for i, row in enumerate(found)]


@pytest.mark.parametrize("margin", [0.1, 0.0, -0.2])
@pytest.mark.parametrize("dense", [True, False])
def test_the_rule_of_qwen3_is_its_formula(margin, dense):
    q, d, n = texts()
    masked = nearer(q, torch.cat([d, n]), margin)
    assert 0 < sum(map(sum, masked)) < 12 * 23
    got = contrastive_loss(
        q, d, WIDEST, hard_negatives_NBD=n[None], margin=Margin(absolute=-margin), dense=dense
    )
    want = loss_of_rows(q, torch.cat([d, n]), masked, 0.05)
    torch.testing.assert_close(got.objective, want)
    assert got.num_masked == sum(map(sum, masked))


@pytest.mark.parametrize("dense", [True, False])
def test_narrow_prefixes_have_the_masks_of_the_widest(dense):
    q, d = texts(negatives=0)
    masked = nearer(q, d, 0.05)
    assert masked != nearer(q[:, :4], d[:, :4], 0.05)
    got = contrastive_loss(q, d, TERMS, margin=Margin(absolute=-0.05), dense=dense)
    want = [loss_of_rows(q[:, : term.dim], d[:, : term.dim], masked, term.temperature) for term in TERMS]
    torch.testing.assert_close(got.terms_T, torch.stack(want))


@pytest.mark.parametrize("strategy", ["absolute", "relative"])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("negatives", [0, 1])
def test_a_guide_is_gist_of_sentence_transformers(monkeypatch, strategy, margin, negatives):
    from sentence_transformers.sentence_transformer.losses import gist_embed

    gist = gist_embed.GISTEmbedLoss.__new__(gist_embed.GISTEmbedLoss)
    torch.nn.Module.__init__(gist)
    options = {
        "model": "ours", "guide": "second", "temperature": 0.05, "margin": margin, "margin_strategy": strategy,
        "similarity_fct": torch.nn.CosineSimilarity(dim=-1), "cross_entropy_loss": torch.nn.CrossEntropyLoss(),
        "contrast_anchors": False, "contrast_positives": False, "gather_across_devices": False,
        "must_retokenize": False,
    }  # fmt: skip
    for name, value in options.items():
        object.__setattr__(gist, name, value)
    ours = texts(negatives=negatives)
    second = guide(Margin(**{strategy: margin}), negatives=negatives)
    theirs = [second.queries_BE, second.documents_BE]
    if second.hard_negatives_NBE is not None:
        theirs += [*second.hard_negatives_NBE]
    monkeypatch.setattr(gist_embed, "embed_columns", lambda model, _: ours if model == "ours" else theirs)
    want = gist([{} for _ in ours], torch.empty(0))
    want.backward()
    gradients = [x.grad.clone() for x in ours]
    for x in ours:
        x.grad = None
    got = contrastive_loss(
        *ours[:2], WIDEST, hard_negatives_NBD=torch.stack(ours[2:]) if negatives else None, guide=second
    )
    got.objective.backward()
    free = contrastive_loss(*texts(negatives=negatives)[:2], WIDEST)
    assert got.num_masked > 0
    assert abs(want - free.objective) > 1e-3
    torch.testing.assert_close(got.objective, want)
    for x, gradient in zip(ours, gradients, strict=True):
        torch.testing.assert_close(x.grad, gradient, rtol=1e-8, atol=1e-10)


JUDGES = [(0.05, None), (None, Margin()), (0.05, Margin(absolute=0.1, relative=0.05))]


@pytest.mark.parametrize("hardness", [Hardness(), Hardness(beta=1.0, tau_plus=0.05), Hardness(beta=0.5)])
@pytest.mark.parametrize(("own", "second"), JUDGES)
@pytest.mark.parametrize(("direction", "small"), list(product(DIRECTIONS, (False, True))))
def test_tiled_equals_dense(monkeypatch, direction, small, own, second, hardness):
    negatives = 0 if direction == "document-to-query" else 1
    if small:
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 0)
        monkeypatch.setattr(blocks, "STRIP_BYTES", 5 * 24 * 8)
    found = []
    for dense in (True, False):
        q, d, *n = texts(negatives=negatives)
        log_scale = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        ids = torch.arange(BATCH) // 2
        loss = contrastive_loss(
            q, d, TERMS, direction=direction, hardness=hardness, dense=dense,
            hard_negatives_NBD=torch.stack(n) if n else None,
            has_negative_NB=torch.arange(BATCH)[None] % 3 > 0 if n else None,
            temperatures_T=torch.tensor([0.05, 0.2], dtype=torch.float64) * log_scale.exp(),
            ids=TextIds(queries_B=ids, documents_B=ids + 50, hard_negatives_NB=ids[None] + 70 if n else None),
            margin=None if own is None else Margin(absolute=-own),
            guide=None if second is None else guide(second, negatives=negatives),
        )  # fmt: skip
        loss.objective.backward()
        found.append([loss.terms_T, loss.num_masked, q.grad, d.grad, *(x.grad for x in n), log_scale.grad])
    assert found[0][1] > BATCH  # more than by identity
    for dense, tiled in zip(*found, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("own", "second"), JUDGES)
def test_both_is_the_mean_of_the_directions(own, second, dense):
    """A document's positive in its own direction is its query, and other places are too near."""
    options = {
        "dense": dense, "margin": None if own is None else Margin(absolute=-own),
        "guide": None if second is None else guide(second, negatives=0),
    }  # fmt: skip
    losses, gradients = {}, {}
    for direction in DIRECTIONS:
        q, d = texts(negatives=0)
        losses[direction] = contrastive_loss(q, d, TERMS, direction=direction, **options)
        losses[direction].objective.backward()
        gradients[direction] = torch.cat([q.grad, d.grad])
    there, back = (losses[name] for name in ("query-to-document", "document-to-query"))
    assert there.num_masked != back.num_masked
    torch.testing.assert_close(losses["both"].terms_T, (there.terms_T + back.terms_T) / 2)
    mean = (gradients["query-to-document"] + gradients["document-to-query"]) / 2
    torch.testing.assert_close(gradients["both"], mean)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_row_whose_candidates_all_are_too_near_adds_nothing(direction):
    q, d = texts(negatives=0)
    loss = contrastive_loss(q, d, TERMS, margin=Margin(absolute=3.0), direction=direction)
    loss.objective.backward()
    assert loss.num_masked == 12 * 11
    assert loss.terms_T.tolist() == [0, 0]
    assert q.grad.abs().max() == d.grad.abs().max() == 0


def test_a_margin_that_masks_nothing_changes_no_bit():
    def step(**options):
        q, d, n = texts()
        loss = contrastive_loss(q, d, TERMS, hard_negatives_NBD=n[None], **options)
        loss.objective.backward()
        return [loss.terms_T, q.grad, d.grad, n.grad]

    for plain, margin in zip(step(), step(margin=Margin(absolute=-3.0)), strict=True):
        assert torch.equal(plain, margin)


def gradients_on_ranks(case):
    return selfcheck.gradients(case)[0]


@pytest.mark.gloo
@pytest.mark.parametrize("direction", ["query-to-document", "both"])
def test_ranks_mask_as_one_process_does(direction):
    case = selfcheck.Case(
        direction=direction, num_negatives=2, masks=True, learned=True, margin=-0.1, guided=True
    )
    want = selfcheck.gradients(case, dense=True)[0]
    assert selfcheck.error(run_on_ranks(2, gradients_on_ranks, case)[0], want) < 1e-10
    plain = selfcheck.gradients(
        selfcheck.Case(direction=direction, num_negatives=2, masks=True, learned=True)
    )
    assert selfcheck.error(plain[0], want) > 1e-2
