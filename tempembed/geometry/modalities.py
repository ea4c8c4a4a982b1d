"""Two modalities in one space: the dimension of the queries' side, and the gap between the two."""

from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.moments import Moments
from tempembed.geometry.neighbours import neighbour_distances, two_nn
from tempembed.geometry.spectrum import participation_ratio, pca_count, spectrum


def of_modalities(queries_QD: Float[Tensor, "Q D"], documents_MD: Float[Tensor, "M D"]) -> dict[str, float]:
    """`query_pca95`, `query_participation_ratio`, `query_twonn` and `modality_gap`.

    The gap is the distance of the mean of the queries to that of the documents, `|mean x - mean y|` (Liang et al. 2022,
    arXiv:2203.02053, section 2): 0 where both are around one point, at most 2.

    Args:
        queries_QD: unit vectors of one modality, three at least, otherwise only the gap is measured.
        documents_MD: unit vectors of the other.
    """
    found = {"modality_gap": (queries_QD.mean(0) - documents_MD.mean(0)).norm().item()}
    if len(queries_QD) > 2:
        eigenvalues = spectrum(Moments.of(queries_QD))
        found |= {
            "query_pca95": pca_count(eigenvalues),
            "query_participation_ratio": participation_ratio(eigenvalues),
            "query_twonn": two_nn(neighbour_distances(queries_QD, 2)),
        }
    return found
