"""Many codecs of the same documents: every basis, cut and number codec is fitted once and shared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jaxtyping import Float
from torch import Tensor

from tempembed.compression.basis import Bases, unit
from tempembed.compression.codec import Codec, check_finite, number_codec
from tempembed.compression.spec import Spec
from tempembed.errors import UserError


@dataclass(frozen=True)
class Fitted:
    """A codec and the documents as it quantises them."""

    codec: Codec
    documents_MK: Float[Tensor, "M K"]
    """Cut and re-normalised."""


def fit_all(
    specs: Sequence[Spec], documents_MD: Float[Tensor, "M D"]
) -> Iterator[tuple[list[Spec], Fitted | UserError]]:
    """Each codec fitted on the documents, with the specs that differ in the re-ranking only.

    An error in place of a codec says why these documents cannot have it; the others go on. One basis and one cut are
    in memory at a time.

    Raises:
        UserError: documents with NaN or infinity.
    """
    check_finite(documents_MD)
    documents = unit(documents_MD)
    bases = Bases(documents)

    def basis_of(spec: Spec) -> tuple:
        return spec.method, spec.seed

    ordered = sorted(specs, key=lambda spec: (*basis_of(spec), spec.width, spec.numbers, spec.pq_bytes))
    for _, of_basis in groupby(ordered, basis_of):
        transformed: Tensor | None = None
        for width, of_width in groupby(of_basis, lambda spec: spec.width):
            cut: Tensor | None = None
            for spec, same in groupby(of_width, lambda spec: spec.search):
                try:
                    basis = bases.fit(spec.method, spec.seed, width)
                    if transformed is None:
                        transformed = basis.apply(documents)
                    if cut is None:
                        cut = unit(transformed[:, :width])
                    numbers = number_codec(spec)
                    numbers.fit(cut)
                    found: Fitted | UserError = Fitted(
                        Codec(spec, documents_MD.shape[1], basis, numbers), cut
                    )
                except UserError as error:
                    found = error
                yield list(same), found
