import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from tempembed.evaluation.statistics import AveragePrecision, Mean, Spearman, interval, resample_counts

N = 150


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, N).astype(float)  # many ties
    predicted = np.round(gold + 2 * rng.standard_normal(N), 1)
    return predicted, gold


def drawn(row):
    return np.repeat(np.arange(N), row.int().numpy())


def test_counts_are_bootstrap_samples_and_the_same_for_all_models():
    first = resample_counts("task", N, 50)
    assert (first.sum(1) == N).all()
    assert torch.equal(first, resample_counts("task", N, 50))
    assert not torch.equal(first, resample_counts("other", N, 50))


def test_mean_on_every_sample(data):
    values = torch.from_numpy(data[0])
    sampled = resample_counts("m", N, 20)
    want = [values[drawn(row)].mean() for row in sampled]
    torch.testing.assert_close(Mean(values).resampled(sampled), torch.stack(want), rtol=0, atol=1e-6)
    assert Mean(values).value == pytest.approx(values.mean().item())


def test_spearman_is_scipys_on_every_sample(data):
    statistic = Spearman(*map(torch.from_numpy, data))
    assert statistic.value == pytest.approx(spearmanr(*data).statistic, abs=1e-12)
    sampled = resample_counts("s", N, 20)
    want = [spearmanr(data[0][drawn(row)], data[1][drawn(row)]).statistic for row in sampled]
    np.testing.assert_allclose(statistic.resampled(sampled), want, atol=1e-10)
    assert Spearman(torch.ones(N), torch.from_numpy(data[1])).value == 0


def test_average_precision_is_scikit_learns_on_every_sample(data):
    positive = data[1] > 3
    statistic = AveragePrecision(torch.from_numpy(data[0]), torch.from_numpy(positive))
    assert statistic.value == pytest.approx(average_precision_score(positive, data[0]), abs=1e-12)
    sampled = resample_counts("a", N, 20)
    want = [average_precision_score(positive[drawn(row)], data[0][drawn(row)]) for row in sampled]
    np.testing.assert_allclose(statistic.resampled(sampled), want, atol=1e-10)


def test_the_interval_of_a_mean_is_the_textbooks():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() + 1
    low, high = interval(Mean(values).resampled(resample_counts("t", 400)))
    error = values.std().item() / 20
    assert (low, high) == pytest.approx(
        (values.mean().item() - 1.96 * error, values.mean().item() + 1.96 * error), abs=0.02
    )
