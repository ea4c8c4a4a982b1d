"""All measures of an embedding space, as one flat record."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.alignment_uniformity import alignment, uniformity
from tempembed.geometry.intrinsic_dimension import pca95, pca95_random

GEOMETRY_ROWS = 5_000


def geometry(
    documents_MD: Float[Tensor, "M D"],
    positives: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]] | None = None,
    labels: Sequence[str | None] = (),
) -> dict[str, Any]:
    """Measures of the first 5,000 documents (the paper's n, paper.md section 2); positives are unit vectors of right pairs."""
    sample = documents_MD[:GEOMETRY_ROWS]
    found: dict[str, Any] = {
        "pca95": pca95(sample),
        "pca95_random": pca95_random(*sample.shape),
        "n": len(sample),
    }
    if positives:
        found["alignment"] = alignment(*positives)
    found["uniformity"] = uniformity(sample)
    return found
