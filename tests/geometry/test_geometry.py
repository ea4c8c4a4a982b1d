import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tempembed.geometry.alignment_uniformity import alignment, uniformity
from tempembed.geometry.intrinsic_dimension import pca95, pca95_random


def test_pca95_equals_scikit_learn():
    x = torch.randn(400, 60, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 60)
    want = int(np.searchsorted(PCA().fit(x.numpy()).explained_variance_ratio_.cumsum(), 0.95)) + 1
    assert pca95(x) == want


def test_pca95_of_a_plane_and_of_one_point():
    plane = torch.randn(500, 3) @ torch.randn(3, 40)
    assert pca95(plane) <= 3
    assert 1 <= pca95(torch.ones(10, 4)) <= 4


def test_random_baseline_is_the_papers():
    assert pca95_random(5000, 1024) == 896


def test_alignment_and_uniformity():
    x = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    y = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(2)), dim=1)
    assert alignment(x, y) == pytest.approx(2 - 2 * (x * y).sum(1).mean().item(), rel=1e-5)
    values = [math.exp(-2 * float((a - b) @ (a - b))) for i, a in enumerate(x) for b in x[:i]]
    assert uniformity(x) == pytest.approx(math.log(sum(values) / len(values)), rel=1e-5)
    assert uniformity(torch.ones(5, 4) / 2) == pytest.approx(0, abs=1e-6)
