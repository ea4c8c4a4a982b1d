"""How many dimensions an embedding space really uses, as the paper measures it."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.moments import Moments
from tempembed.geometry.spectrum import pca_count, spectrum


def pca95(embeddings_MD: Float[Tensor, "M D"]) -> int:
    """Principal components that carry 95 % of the variance.

    Biased low where M is not far above D: always print M, and the baseline beside it (docs/design/paper.md 1.3, Figure 4).
    """
    return pca_count(spectrum(Moments.of(embeddings_MD)))


@lru_cache
def random_spectrum(num: int, width: int, seed: int = 0) -> Float[Tensor, " D"]:
    """Eigenvalues of the covariance of `num` random Gaussian vectors."""
    rows = torch.randn(num, width, generator=torch.Generator().manual_seed(seed))
    return spectrum(Moments.of(rows))


def pca95_random(num: int, width: int) -> int:
    """`pca95` of random vectors: 896 for 5,000 x 1024 (docs/design/paper.md section 2)."""
    return pca_count(random_spectrum(num, width))
