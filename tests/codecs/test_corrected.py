"""The engines' own codecs: known answers from faiss, from the formulas written out, and the promises of their papers."""

import math

import faiss
import numpy as np
import pytest
import torch

from tempembed.codecs.basis import normalized
from tempembed.codecs.bbq import rounded
from tempembed.codecs.codec import Codec
from tempembed.codecs.rabitq import RaBitQ, nearest_levels
from tempembed.codecs.spec import parse_spec
from tempembed.system.errors import UserError

WIDTH = 96


@pytest.fixture(scope="module")
def documents():
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(2, 0.3, WIDTH)
    return normalized(torch.randn(600, WIDTH, generator=generator) * scales + 0.4)


@pytest.fixture(scope="module")
def queries(documents):
    noise = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))
    return normalized(documents[:40] + 0.05 * noise)


def fit(text, documents):
    return Codec.fit(parse_spec(text, WIDTH), documents)


@pytest.mark.parametrize(("text", "size", "error"), [
    ("bbq", 12 + 14, 0.09), ("rabitq:1", 12 + 8, 0.08), ("rabitq:2", 24 + 8, 0.04), ("rabitq:4", 48 + 8, 0.012), ("sq8", 96, 0.002),
    ("qdrant8", 96, 0.006),
])  # fmt: skip
def test_scores_are_near_the_exact_ones(text, size, error, documents, queries):
    codec = fit(text, documents)
    codes = codec.encode(documents)
    assert codes.shape == (600, size)
    missed = codec.score(queries, codes) - queries @ documents.T
    assert missed.square().mean().sqrt() < error
    # what is had back gives the same scores to a float query, but for the exact rest
    assert (codec.reconstruct(documents) - documents).norm(dim=1).mean() < 14 * error


def test_columns_are_levels_and_what_is_beside_them(documents):
    codec = fit("rabitq:2", documents)
    codes = codec.encode(documents)
    columns = codec.numbers.columns(codes)
    assert {name: tuple(values.shape) for name, values in columns.items()} == {
        "code": (600, 24),
        "scale": (600,),
        "rest": (600,),
    }
    centre = codec.numbers.state["centre"]
    assert torch.allclose(columns["rest"], documents @ centre - centre @ centre, atol=1e-6)


@pytest.mark.parametrize(("bits", "text"), [(1, "rabitq:1"), (2, "rabitq:2"), (4, "rabitq:4")])
def test_rabitq_is_faiss_rabitq(bits, text, documents, queries):
    """faiss's estimate for the same rotated vectors; its grid for more bits is found in another way, so not to the last digit."""
    codec = fit(text, documents)
    rotation = codec.numbers.state["rotation"]
    index = faiss.IndexRaBitQ(WIDTH, faiss.METRIC_INNER_PRODUCT, bits)
    index.qb = 0  # float queries
    rotated = (documents @ rotation).numpy()
    index.train(rotated)
    index.add(rotated)
    scores, rows = index.search((queries @ rotation).numpy(), 600)
    theirs = np.empty_like(scores)
    np.put_along_axis(theirs, rows, scores, axis=1)
    ours = codec.score(queries, codec.encode(documents)).numpy()
    if bits == 1:
        assert np.abs(ours - theirs).max() < 2e-5
    exact = (queries @ documents.T).numpy()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.96
    assert np.square(ours - exact).mean() < 1.1 * np.square(theirs - exact).mean()


def test_rabitq_is_unbiased_and_within_its_bound(documents, queries):
    """Over rotations the mean error vanishes, and the bound of the paper holds but for a small share."""
    errors, outside = [], []
    numbers = RaBitQ(WIDTH, 1)
    numbers.fit(documents)
    for seed in range(60):
        gaussian = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed))
        numbers.state["rotation"] = torch.linalg.qr(gaussian).Q
        missed = (
            numbers.query(queries) @ numbers.scored(numbers.encode(documents[:200])).T
            - queries @ documents[:200].T
        )
        errors.append(missed)
        bound = (queries - numbers.state["centre"]).norm(dim=1)[:, None] * numbers.bound(documents[:200])
        outside.append((missed.abs() > bound).float().mean())
    errors = torch.stack(errors)
    assert errors.mean(0).abs().mean() < 1.3 * errors.std(0).mean() / math.sqrt(60)
    assert 0.01 < torch.stack(outside).mean() < 0.1  # 1.9 standard deviations of a normal distribution: 0.06


def test_levels_point_nearest(documents):
    """Not worse than the best of all scales on a fine grid, by a thousandth."""
    rows = documents[:50]
    got = nearest_levels(rows, 2)
    cosine = torch.nn.functional.cosine_similarity(got - 1.5, rows)
    best = torch.full((50,), -1.0)
    for step in torch.linspace(0.02, 1.0, 400) * rows.abs().max():
        levels = (rows / step + 1.5).round().clamp(0, 3)
        best = torch.maximum(best, torch.nn.functional.cosine_similarity(levels - 1.5, rows))
    assert (cosine > best - 2e-3).all()


def test_bbq_is_the_formula_of_lucene(documents, queries):
    """The score from integers and corrections, term by term, as Lucene's scorer adds them up."""
    codec = fit("bbq", documents)
    centre = codec.numbers.state["centre"]
    document, query = documents[7].double(), queries[3].double()
    bits, (ax, bx) = (each[0] for each in rounded((documents[7:8] - centre), 1))
    nibbles, (ay, by) = (each[0] for each in rounded((queries[3:4] - centre), 4))
    lx, ly = (bx - ax), (by - ay) / 15
    score = (
        ax * ay * WIDTH + ay * lx * bits.sum() + ax * ly * nibbles.sum() + lx * ly * (bits * nibbles).sum()
    )
    score += query @ centre.double() + document @ centre.double() - centre.double() @ centre.double()
    assert codec.score(queries[3:4], codec.encode(documents[7:8]))[0, 0] == pytest.approx(
        float(score), abs=1e-5
    )


def test_bbq_interval_is_near_a_minimum(documents):
    """To either side the loss, written out, is larger on average."""
    rows = documents[:20] - documents.mean(0)
    _levels, ends = rounded(rows, 1)

    def loss(low, high):
        near = torch.where(
            (rows - low[:, None]).abs() > (rows - high[:, None]).abs(), high[:, None], low[:, None]
        )
        error = rows - near
        return 0.9 * (rows * error).sum(1).square() / rows.square().sum(1) + 0.1 * error.square().sum(1)

    low, high = ends.unbind(1)
    start = loss(
        -0.798 * rows.std(1, unbiased=False) + rows.mean(1),
        0.798 * rows.std(1, unbiased=False) + rows.mean(1),
    )
    found = loss(low, high)
    assert (found <= start + 1e-7).all()
    assert found.mean() < 0.98 * start.mean()
    for step in (-0.1, 0.1):  # five rounds come near to it
        assert loss(low * (1 + step), high * (1 + step)).mean() > found.mean()


def test_sq8_is_faiss_8_bits_to_the_byte(documents):
    index = faiss.IndexScalarQuantizer(WIDTH, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(documents.numpy())
    index.add(documents.numpy())
    codec = fit("sq8", documents)
    theirs = faiss.vector_to_array(index.codes).reshape(600, WIDTH)
    ours = codec.encode(documents).numpy()
    assert (ours == theirs).mean() > 0.9999
    assert np.abs(codec.reconstruct(documents).numpy() - index.reconstruct_n(0, 600)).max() < 1e-2 / 2


def test_qdrant_rounds_both_sides_to_seven_bits(documents, queries):
    codec = fit("qdrant8", documents)
    codes = codec.encode(documents)
    assert codes.max() == 127
    assert codes.min() == 0
    asked = codec.numbers.query(codec.cut(queries))
    levels = (asked - codec.numbers.state["low"]) / codec.numbers.state["step"]
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    # of 600 documents (1 - 0.99) / 2 are 3: so many values are cut off at either end
    values = documents.flatten().sort().values
    assert float(codec.numbers.state["low"]) == pytest.approx(float(values[3]), abs=1e-6)


def test_bits_that_there_are(documents):
    with pytest.raises(UserError, match="rabitq needs 1, 2, 4 bits, got 3"):
        parse_spec("rabitq:3", WIDTH)
    assert RaBitQ.within(128, 1024) == (960, 1)
    assert RaBitQ.within(512, 1024) == (1008, 4)
