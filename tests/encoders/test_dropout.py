"""Dropout with cheap masks: the right share, the right mean, no pattern, and the same mask again from the same state."""

import numpy as np
import pytest
import torch
from torch import nn

from tempembed.encoders.dropout import Dropout, Masks, cheapen
from tempembed.encoders.load import load_encoder
from tempembed.encoders.products import attend
from tempembed.parallel.gradient_cache import cached_forward
from tests.models import KINDS

SHAPE = (1000, 384)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_share_and_mean_are_those_that_are_asked_for(share):
    masks = Masks(7, share)
    kept = masks.next(SHAPE, torch.float32)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    num = kept.numel()
    assert abs(kept.mean().item() - (1 - share)) < 5 * np.sqrt(share * (1 - share) / num) + 2**-16
    assert masks.scale * (1 - round(share * 65536) / 65536) == pytest.approx(1, abs=1e-12)
    assert abs(masks.scale * kept.double().mean().item() - 1) < 5 * np.sqrt(share / (1 - share) / num)


def test_neighbours_rows_columns_and_masks_are_independent():
    """Correlations of 0/1 values of n elements are normal with a deviation of 1/sqrt(n)."""
    masks = Masks(3, 0.1)
    first, second = (masks.next(SHAPE, torch.float32).numpy() for _ in range(2))
    other = Masks(4, 0.1).next(SHAPE, torch.float32).numpy()
    pairs = {
        "in a row": (first[:, 1:], first[:, :-1]), "in a word": (first[:, ::4], first[:, 3::4]), "in a column": (first[1:], first[:-1]),
        "in turn": (first, second), "of other seeds": (first, other),
    }  # fmt: skip
    for name, (one, two) in pairs.items():
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 5 / np.sqrt(one.size), name
    rows = first.sum(1)
    assert np.var(rows) == pytest.approx(384 * 0.1 * 0.9, rel=0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_has_the_mask_of_the_forward(dtype):
    module = Dropout(0.1)
    values = torch.randn(*SHAPE, dtype=dtype, requires_grad=True)
    got = module(values)
    (gradient,) = torch.autograd.grad(got, values, torch.ones_like(got))
    scale = torch.tensor(1 / 0.9, dtype=torch.float64)
    torch.testing.assert_close(gradient.double().unique(), torch.tensor([0.0, scale]), atol=4e-3, rtol=0)
    torch.testing.assert_close(got.double(), values.double() * gradient.double(), atol=1e-6, rtol=8e-3)


def test_the_same_state_of_torch_gives_the_same_mask_and_the_next_call_another():
    module, values = Dropout(0.3), torch.ones(64, 64)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = module(values), module(values)
    torch.set_rng_state(state)
    again = module(values)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_it_is_torchs_own_where_nothing_is_to_be_drawn():
    values = torch.randn(8, 8)
    assert torch.equal(Dropout(0.1).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)
    assert not Dropout(1.0)(values).any()
    assert Dropout(1e-9)(values).equal(values)


def test_a_model_with_cheap_dropout_says_of_itself_what_it_said():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))
    before = str(model)
    cheapen(model)
    assert str(model) == before
    assert type(model[1]) is Dropout


def dense(query, key, value, groups, scale, masks=None):
    """The formula, text by text; masks by group, with their scale."""
    found, start = [], 0
    for g, (num, length) in enumerate(groups):
        for i in range(num):
            q, k, v = (x[:, start : start + length] for x in (query, key, value))
            weights = torch.softmax(q @ k.mT * scale, -1)
            if masks:
                weights = weights * masks[g].unflatten(0, (num, -1))[i]
            found.append((weights @ v).transpose(0, 1))
            start += length
    return torch.cat(found)


GROUPS = ((2, 9), (1, 5), (4, 1))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_attention_by_products_is_the_formula_with_its_gradient(dropout):
    torch.manual_seed(1)
    make = lambda: torch.randn(27, 3, 8, dtype=torch.float64).transpose(0, 1).requires_grad_()  # noqa: E731
    values, gradient = [make() for _ in range(3)], torch.randn(27, 3, 8, dtype=torch.float64)
    torch.manual_seed(2)
    got = attend(*values, GROUPS, 0.3, dropout)
    torch.manual_seed(2)
    masks = Masks(Masks.seed(), dropout)
    drawn = [masks.next((num * 3, length, length), torch.float64) * masks.scale for num, length in GROUPS]
    want = dense(*values, GROUPS, 0.3, drawn if dropout else None)
    # weights are made in float32
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(each, values, gradient) for each in (got, want))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_long_texts_are_taken_in_blocks(monkeypatch):
    from tempembed.encoders import products

    torch.manual_seed(0)
    values = [torch.randn(27, 3, 8).transpose(0, 1).requires_grad_() for _ in range(3)]
    outputs = []
    for block in (2**20, 100):
        monkeypatch.setattr(products, "BLOCK", block)
        torch.manual_seed(2)
        outputs.append(attend(*values, GROUPS, 0.3, 0.0))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-6, rtol=0)


def test_bfloat16_is_within_its_rounding():
    torch.manual_seed(1)
    values = [torch.randn(27, 3, 8).transpose(0, 1).requires_grad_() for _ in range(3)]
    halves = [each.detach().bfloat16().requires_grad_() for each in values]
    got = attend(*halves, GROUPS, 0.3, 0.0)
    want = dense(*(each.detach().float() for each in halves), GROUPS, 0.3)
    torch.testing.assert_close(got.float(), want, atol=0.03, rtol=0.02)


def test_a_model_in_training_drops_in_its_hidden_values_and_in_its_attention(tmp_path):
    """What the published config asks for; the mean over many masks is near what it gives without."""
    encoder = load_encoder(str(KINDS["bert, mean"](tmp_path))).train()
    dropouts = [module for module in encoder.modules() if isinstance(module, nn.Dropout)]
    assert {type(module) for module in dropouts} == {Dropout}
    assert {module.p for module in dropouts} == {0.1}
    chunk = [encoder.prepare(["open the matrix named a1 and return it"], encoder.role("query"))]
    with torch.no_grad():
        one, two = encoder(chunk), encoder(chunk)
        assert not torch.equal(one, two)
        for module in dropouts:
            if module not in [
                layer.attention.self.dropout for layer in encoder.model[0].auto_model.encoder.layer
            ]:
                module.p = 0.0
        assert not torch.equal(encoder(chunk), encoder(chunk))  # attention's alone


@pytest.mark.parametrize("half", [False, True])
def test_a_gradient_cache_replays_every_mask(half, tmp_path):
    encoder = load_encoder(str(KINDS["bert, mean"](tmp_path))).train()
    encoder.use_bfloat16 = half
    texts = ["open the matrix named a1", "close a socket", "count count", "render the image, invert it", "a"]
    tokens = encoder.prepare(texts, encoder.role("document"))
    chunks = [tokens.select(np.array(rows)) for rows in ([0, 3], [1, 2], [4])]
    weight_MD, gradients = torch.randn(5, encoder.width), []
    for run in (encoder, lambda parts: cached_forward(encoder, [[part] for part in parts])):
        torch.manual_seed(3)
        vectors_MD = run(chunks)
        state = torch.get_rng_state()
        (vectors_MD * weight_MD).sum().backward()
        assert torch.equal(torch.get_rng_state(), state)  # the backward draws nothing that is not put back
        gradients.append([vectors_MD, *(p.grad.clone() for p in encoder.parameters() if p.grad is not None)])
        encoder.zero_grad()
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=0.02 if half else 1e-6, rtol=1e-2 if half else 1e-5)
    assert torch.equal(gradients[0][0], gradients[1][0])
