"""All measures of an embedding space, as one flat record."""

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.alignment_uniformity import alignment, tolerance, uniformity
from tempembed.geometry.bits import bit_balance, bit_correlation, bit_margin, bit_participation
from tempembed.geometry.intrinsic_dimension import pca95_random, random_spectrum
from tempembed.geometry.moments import Moments
from tempembed.geometry.negatives import influence, influence_curves, random_influence
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

GEOMETRY_ROWS = 5_000  # the paper's n, see docs/design/paper.md section 2
NEIGHBOURS = 20
TEMPERATURES = (0.03, 0.06, 0.1, 0.2, 0.4)
BATCH = 1024  # queries and documents of the influence of negatives
POINTS = 48  # of the spectrum


def geometry(
    documents_MD: Float[Tensor, "M D"],
    positives: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]] | None = None,
    labels: Sequence[str | None] = (),
) -> dict[str, Any]:
    """Measures of the first 5,000 documents; plain JSON values, what cannot be measured is left out.

    Args:
        documents_MD: unit vectors (a zero vector stays one), finite.
        positives: unit vectors of queries and their documents, for alignment and the influence of negatives.
        labels: of the documents, for the tolerance.

    Returns:
        `pca95`, its random baseline of the same n, `participation_ratio`, `isoscore`, `eigen_entropy_rank`, `rankme`,
        `stable_rank` (of the covariance's spectrum, the last two of the rows as they are), `twonn`, `twonn_mle`, `mle`,
        `variance_spread`, `alignment`, `uniformity`, `tolerance`, `bit_balance`, `bit_correlation`, `bit_participation`, `bit_margin`, by
        temperature `effective_negatives` and `hardest_tenth_share`; and for pictures `influence` (see influence_curves) and `spectrum`, `random_spectrum`,
        `cumulative`, `random_cumulative`: pairs (rank, share of the variance that it, or all up to it, carry).
    """
    sample = documents_MD[:GEOMETRY_ROWS]
    found: dict[str, Any] = {"n": len(sample)}
    if len(sample) < 3:
        return found
    moments = Moments.of(sample)
    eigenvalues, squares = spectrum(moments), uncentred_spectrum(moments)
    distances = neighbour_distances(sample, NEIGHBOURS)
    found |= {
        "pca95": pca_count(eigenvalues),
        "pca95_random": pca95_random(*sample.shape),
        "participation_ratio": participation_ratio(eigenvalues),
        "isoscore": isoscore(eigenvalues),
        "eigen_entropy_rank": entropy_rank(eigenvalues),
        "rankme": entropy_rank(squares.sqrt()),
        "stable_rank": stable_rank(squares),
        "twonn": two_nn(distances),
        "twonn_mle": two_nn_likelihood(distances),
        "mle": levina_bickel(distances),
        "variance_spread": variance_spread(moments.covariance()),
        "uniformity": uniformity(sample),
        "bit_balance": bit_balance(sample),
        "bit_correlation": bit_correlation(sample),
        "bit_participation": bit_participation(sample),
    }
    if labels:
        found["tolerance"] = tolerance(sample, labels[: len(sample)])
    if positives:
        found["alignment"] = alignment(*positives)
        queries, right = (rows[:BATCH] for rows in positives)
        if len(queries) > 2:
            found["bit_margin"] = bit_margin(queries, right)
            measured = influence(queries, right, TEMPERATURES)
            for one in measured:
                found[f"effective_negatives_{one.temperature:g}"] = one.effective
                found[f"hardest_tenth_share_{one.temperature:g}"] = one.hardest_tenth
            random = random_influence(len(queries), queries.shape[1], TEMPERATURES)
            found["influence"] = influence_curves(measured, random)
    for name, values in (("", eigenvalues), ("random_", random_spectrum(*sample.shape))):
        shares = values / (values.sum().item() or 1.0)
        found[f"{name}spectrum"] = _by_rank(shares)
        found[f"{name}cumulative"] = _by_rank(shares.cumsum(0))
    return {
        name: value for name, value in found.items() if not isinstance(value, float) or math.isfinite(value)
    }


def _by_rank(values_D: Float[Tensor, " D"]) -> list[tuple[int, float]]:
    """The curve at 48 log-spaced ranks."""
    ranks = sorted({round(len(values_D) ** (i / (POINTS - 1))) for i in range(POINTS)})
    return [(rank, values_D[rank - 1].item()) for rank in ranks]
