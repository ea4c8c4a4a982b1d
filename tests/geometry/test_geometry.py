import itertools
import json
import math

import numpy as np
import pytest
import skdim
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.stats import entropy
from sklearn.decomposition import PCA

from tempembed.geometry.alignment_uniformity import alignment, tolerance, uniformity
from tempembed.geometry.bits import (
    bit_balance,
    bit_correlation,
    bit_margin,
    bit_participation,
    training_margin,
)
from tempembed.geometry.intrinsic_dimension import pca95, pca95_random
from tempembed.geometry.measure import geometry
from tempembed.geometry.moments import Moments
from tempembed.geometry.negatives import influence, influence_curves, random_influence, training_influence
from tempembed.geometry.neighbours import levina_bickel, neighbour_distances, two_nn, two_nn_likelihood
from tempembed.geometry.spectrum import (
    entropy_rank,
    isoscore,
    participation_ratio,
    pca_count,
    spectrum,
    stable_rank,
    uncentred_spectrum,
    variance_spread,
)


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(800, 40, generator=generator) * torch.logspace(0, -1.5, 40) + 3.0


def test_spectrum_is_scikit_learns(rows, monkeypatch):
    monkeypatch.setattr("tempembed.geometry.moments.BLOCK", 77)  # many blocks
    want = PCA().fit(rows.double().numpy())
    got = spectrum(Moments.of(rows))
    np.testing.assert_allclose(got * 800 / 799, want.explained_variance_, rtol=1e-5)
    assert pca_count(got) == int((want.explained_variance_ratio_.cumsum() < 0.95).sum()) + 1
    assert pca95(rows) == pca_count(got)


def test_moments_of_parts_add_up(rows):
    whole, one, two = Moments(40), Moments(40), Moments(40)
    whole.add(rows)
    one.add(rows[:300])
    two.add(rows[300:])
    for a, b in zip(one.tensors(), two.tensors(), strict=True):
        a += b
    torch.testing.assert_close(one.covariance(), whole.covariance(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        whole.covariance(), torch.cov(rows.T.double(), correction=0), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        Moments.of(rows).uncentred(), rows.T.double() @ rows.double(), rtol=1e-5, atol=1e-3
    )


def test_a_large_mean_does_not_hide_the_spectrum():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2000, 16, generator=generator)
    assert pca95(rows + 1000) == pca95(rows)


def test_measures_of_a_spectrum_are_the_references(rows):
    values = spectrum(Moments.of(rows))
    array = rows.double().numpy()
    pr = skdim.id.lPCA(ver="participation_ratio").fit(array).dimension_
    assert participation_ratio(values) == pytest.approx(pr, rel=1e-4)
    ratio = skdim.id.lPCA(ver="ratio", alphaRatio=0.95).fit(array).dimension_
    assert abs(pca_count(values) - ratio) <= 1  # skdim counts those below the share
    # IsoScore as its authors compute it, step by step
    d, v = len(values), math.sqrt(len(values)) * values / values.norm()
    delta = (v - 1).norm() / math.sqrt(2 * (d - math.sqrt(d)))
    steps = ((d - delta**2 * (d - math.sqrt(d))) ** 2 / d - 1) / (d - 1)
    assert isoscore(values) == pytest.approx(steps.item(), abs=1e-6)
    singular = np.linalg.svd(array, compute_uv=False)
    squares = uncentred_spectrum(Moments.of(rows))
    assert entropy_rank(squares.sqrt()) == pytest.approx(math.exp(entropy(singular)), rel=1e-4)
    assert stable_rank(squares) == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-5)
    assert entropy_rank(values) == pytest.approx(math.exp(entropy(values.numpy())), rel=1e-9)


def test_spread_of_the_variances_and_what_a_rotation_does_to_it(rows):
    variances = rows.double().numpy().var(axis=0)
    want = variances.std() / variances.mean()
    assert variance_spread(Moments.of(rows).covariance()) == pytest.approx(want, rel=1e-5)
    generator = torch.Generator().manual_seed(0)
    stretched = torch.randn(4000, 64, generator=generator) * torch.linspace(0.1, 3, 64)
    rotation, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    before, after = (
        variance_spread(Moments.of(each).covariance()) for each in (stretched, stretched @ rotation)
    )
    assert after < 0.3 * before


def test_random_baseline_of_the_paper():
    assert pca95_random(5000, 1024) == 896


@pytest.mark.parametrize("dim", [3, 8])
def test_planted_dimension_is_found(dim):
    generator = torch.Generator().manual_seed(dim)
    rows = torch.randn(3000, dim, generator=generator) @ torch.randn(dim, 60, generator=generator)
    distances = neighbour_distances(rows, 20)
    for found in (two_nn(distances), two_nn_likelihood(distances), levina_bickel(distances)):
        assert found == pytest.approx(dim, rel=0.15)
    assert pca_count(spectrum(Moments.of(rows)), 0.9999) == dim


def test_neighbour_measures_are_scikit_dimensions(rows, monkeypatch):
    monkeypatch.setattr("tempembed.geometry.neighbours.BLOCK", 130)
    distances = neighbour_distances(rows, 20)
    full = cdist(rows.double().numpy(), rows.double().numpy())
    np.fill_diagonal(full, np.inf)
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :20], rtol=1e-4)
    array = rows.double().numpy()
    assert two_nn(distances) == pytest.approx(
        skdim.id.TwoNN(discard_fraction=0.1).fit(array).dimension_, rel=1e-3
    )
    local = skdim.id.MLE(K=20).fit(array, n_neighbors=20, comb="mean").dimension_
    assert levina_bickel(distances) == pytest.approx(local, rel=1e-3)


def test_doubles_are_left_out(rows):
    doubled = torch.cat([rows, rows[:100]])
    distances = neighbour_distances(doubled, 5)
    assert (distances[:, 0] == 0).sum() == 200
    assert math.isfinite(two_nn(distances))
    assert math.isfinite(levina_bickel(distances))
    assert math.isnan(two_nn(torch.zeros(10, 3)))
    assert math.isnan(levina_bickel(torch.zeros(10, 3)))


def test_alignment_and_uniformity_by_their_definitions(rows):
    x = torch.nn.functional.normalize(rows, dim=1)
    y = x.roll(1, 0)
    assert alignment(x, y) == pytest.approx((x - y).norm(dim=1).square().mean().item(), rel=1e-5)
    want = math.log(np.exp(-2 * pdist(x.double().numpy()) ** 2).mean())
    assert uniformity(x) == pytest.approx(want, abs=1e-5)


def test_tolerance_by_all_pairs(rows):
    x = torch.nn.functional.normalize(rows[:50], dim=1)
    labels = [None if i % 5 == 0 else f"c{i % 3}" for i in range(50)]
    products = x @ x.T
    want = [
        products[i, j].item()
        for i in range(50)
        for j in range(50)
        if i != j and labels[i] and labels[i] == labels[j]
    ]
    assert tolerance(x, labels) == pytest.approx(np.mean(want), abs=1e-6)
    assert math.isnan(tolerance(x, [None] * 50))


def test_influence_by_loops():
    generator = torch.Generator().manual_seed(0)
    q, d = (torch.nn.functional.normalize(torch.randn(30, 8, generator=generator), dim=1) for _ in range(2))
    effective, hardest, tenth = [], [], []
    for i in range(30):
        r = torch.stack([(q[i] @ d[k] / 0.1).exp() for k in range(30) if k != i]).double()
        r = (r / r.sum()).sort(descending=True).values
        effective.append(math.exp(entropy(r.numpy())))
        hardest.append(r[0].item())
        tenth.append(r[:3].sum().item())
    (got,) = influence(q, d, (0.1,))
    assert got.effective == pytest.approx(np.mean(effective), rel=1e-5)
    assert got.hardest == pytest.approx(np.mean(hardest), rel=1e-5)
    assert got.hardest_tenth == pytest.approx(np.mean(tenth), rel=1e-5)
    assert got.curve_K.sum().item() == pytest.approx(1, abs=1e-6)
    # the paper: the smaller tau, the fewer negatives count
    curve = [one.effective for one in random_influence(200, 64, (0.03, 0.06, 0.1, 0.4, 100))]
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(199, rel=1e-3)


def test_figure_1_as_values():
    model, random = random_influence(200, 16, (0.03, 0.4)), random_influence(200, 64, (0.03, 0.4), seed=1)
    found = influence_curves(model, random)
    assert (found["ranks"][0], found["ranks"][-1]) == (1, 199)
    assert found["ranks"] == sorted(set(found["ranks"]))
    for name, measured in (("model", model), ("random", random)):
        for one in measured:
            curve = found[name][f"{one.temperature:g}"]
            assert curve["shares"] == [one.curve_K[rank - 1].item() for rank in found["ranks"]]
            assert curve["effective"] == one.effective
    assert json.loads(json.dumps(found)) == found


def test_influence_in_training_is_that_of_the_first_rows_of_any_length():
    generator = torch.Generator().manual_seed(0)
    q, d = (torch.randn(1500, 8, generator=generator, requires_grad=True) for _ in range(2))
    unit_q, unit_d = (torch.nn.functional.normalize(rows.detach(), dim=1) for rows in (q, d))
    want = influence(unit_q[:64], unit_d[:1024], (0.03, 0.1, 0.4))
    found = training_influence(5 * q, 0.1 * d)
    assert len(found) == 6
    for one in want:
        effective = found[f"train/effective_negatives/{one.temperature:g}"]
        assert effective == pytest.approx(one.effective, rel=1e-4)
        tenth = found[f"train/hardest_tenth_share/{one.temperature:g}"]
        assert tenth == pytest.approx(one.hardest_tenth, rel=1e-4)
    assert len(training_influence(q[:9].bfloat16(), d[:9].bfloat16())) == 6
    assert training_influence(q[:2], d[:2]) == {}


def test_bits():
    assert bit_balance(torch.tensor([[1.0, -1.0], [1.0, 1.0]])) == 0.5
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 12, generator=generator)
    x[:, 11] = x[:, 0]  # one pair of 66 is one bit twice
    x[:, 10] = 1.0  # constant
    signs = torch.where(x > 0, 1.0, -1.0)[:, [i for i in range(12) if i != 10]].numpy()
    want = np.abs(np.corrcoef(signs.T)[~np.eye(11, dtype=bool)]).mean()
    assert bit_correlation(x) == pytest.approx(want, abs=1e-5)
    assert bit_correlation(torch.ones(5, 3)) == 0


def test_how_many_bits_the_bits_are_worth():
    every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)))  # independent and balanced
    assert bit_participation(every) == pytest.approx(4)
    assert bit_participation(every[:, [0, 1, 1]]) == pytest.approx(9 / 5)  # eigenvalues 2 and 1
    assert bit_participation(torch.ones(5, 3)) == 0
    rows = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert bit_participation(rows) == pytest.approx(1 / (1 / 64 + 1 / 4000), rel=0.01)


def test_margin_over_what_bits_blur():
    generator = torch.Generator().manual_seed(0)
    d = torch.randn(40, 32, generator=generator)

    def pairs(noise):
        q = d + noise * torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
        return [torch.nn.functional.normalize(x, dim=1) for x in (q, d)]

    q, right = (x.double().numpy() for x in pairs(1.0))
    cosines, bits, margins = [], [], []
    for i in range(40):
        near = sorted((j for j in range(40) if j != i), key=lambda j: -(q[i] @ right[j]))[:10]
        margins.append(q[i] @ right[i] - np.mean([q[i] @ right[j] for j in near]))
        cosines += [q[i] @ right[j] for j in (i, *near)]
        bits += [np.where(q[i] > 0, 1, -1) @ np.where(right[j] > 0, 1, -1) / 32 for j in (i, *near)]
    slope, offset = np.polyfit(cosines, bits, 1)
    noise = np.sqrt(np.mean((np.array(bits) - slope * np.array(cosines) - offset) ** 2)) / slope
    assert bit_margin(*pairs(1.0)) == pytest.approx(np.mean(margins) / noise, rel=1e-4)
    assert bit_margin(*pairs(0.3)) > bit_margin(*pairs(1.0)) > bit_margin(*pairs(3.0))
    raw = [3 * x.bfloat16() for x in pairs(1.0)]
    want = bit_margin(*(torch.nn.functional.normalize(x.float(), dim=1) for x in raw))
    assert training_margin(*raw)["train/bit_margin"] == pytest.approx(want, rel=1e-4)
    assert bit_margin(raw[0][:7].float(), raw[1].float()) > 0  # fewer queries than documents
    assert training_margin(raw[0][:2], raw[1][:2]) == {}


def test_geometry_of_odd_spaces():
    unit = torch.nn.functional.normalize(
        torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    found = geometry(unit, (unit[:20], unit[:20]), ["a", "b"] * 30)
    assert {"pca95", "mle", "tolerance", "alignment", "effective_negatives_0.1", "spectrum"} <= set(found)
    values = spectrum(Moments.of(unit))
    random_values = spectrum(Moments.of(torch.randn(60, 16, generator=torch.Generator().manual_seed(0))))
    for name, want in (("", values / values.sum()), ("random_", random_values / random_values.sum())):
        assert found[f"{name}spectrum"] == [(k, pytest.approx(want[k - 1].item())) for k in range(1, 17)]
        assert found[f"{name}cumulative"] == [(k, pytest.approx(want[:k].sum().item())) for k in range(1, 17)]
    assert found["influence"]["model"]["0.1"]["effective"] == found["effective_negatives_0.1"]
    assert set(found["influence"]["random"]) == {"0.03", "0.06", "0.1", "0.2", "0.4"}
    odd = unit.clone()
    odd[3] = 0.0
    odd[:, 5] = 0.0
    equal = unit[:1].repeat(30, 1)
    for rows in (odd, equal, torch.zeros(30, 16), unit[:3]):
        measured = geometry(rows)
        assert measured["n"] == len(rows)
        assert all(math.isfinite(v) for v in measured.values() if isinstance(v, float))
    assert geometry(equal)["participation_ratio"] == 0
    assert geometry(unit[:2]) == {"n": 2}
