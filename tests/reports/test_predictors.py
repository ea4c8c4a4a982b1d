import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from tempembed.reports.predictors import predictors, spearman
from tempembed.reports.report_text import predictor_text
from tests.rows import report, score_row


def model(i, kept):
    rows = [
        score_row(codec=codec, dim=dim, retention=value)
        for codec, dim, value in (
            ("float32", 64, 1.0),
            ("float32", 16, kept),
            ("binary", 64, 1 - kept),
            ("binary", 16, kept**2),
        )
    ]
    noise = [3, 1, 4, 1, 5, 9, 2, 6][i]
    geometry = {"pca95": 10 * i, "n": 9, "noise": noise, "flat": 2.0, "spectrum": []}
    return report(rows, width=64, geometry=geometry)


def test_the_measure_that_orders_retention_comes_first():
    kept = [0.9, 0.8, 0.85, 0.6, 0.5, 0.4, 0.3, 0.2]
    found = predictors([model(i, k) for i, k in enumerate(kept)])
    assert [row.measure for row in found] == ["pca95", "noise"]
    want = spearmanr([10 * i for i in range(8)], kept).statistic
    assert found[0].correlations["1/4 width"].rho == pytest.approx(want)
    assert found[0].correlations["binary"].rho == pytest.approx(-want)
    low, high = found[0].correlations["1/4 width"].ci
    assert low <= want <= high < 0
    wide = found[1].correlations["1/4 width"].ci
    assert wide[0] < 0 < wide[1]
    assert "pca95" in predictor_text(found, 8)


def test_rank_correlations_of_many_resamples_at_once():
    rng = np.random.default_rng(0)
    x, y = rng.integers(5, size=(2, 30, 9))  # with ties, as resamples have them
    x[3] = 2
    for row, found in enumerate(spearman(x, y)):
        if row == 3:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(spearmanr(x[row], y[row]).statistic)


def test_few_models_give_no_answer():
    assert predictors([model(i, 0.5 + i / 10) for i in range(4)]) == []
    assert "needs at least 5" in predictor_text([], 4)


def test_equal_retention_has_no_correlation():
    found = predictors([model(i, 0.5) for i in range(6)])
    assert math.isnan(found[0].correlations["binary"].rho)
