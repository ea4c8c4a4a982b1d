"""Many codecs of the same documents: every basis, cut and number codec is fitted once and shared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import RLock

from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.basis import Bases, Basis, normalized
from tempembed.codecs.codec import Codec, check_finite
from tempembed.codecs.numbers import NumberCodec
from tempembed.codecs.spec import Spec
from tempembed.system.errors import UserError


@dataclass(frozen=True)
class Fitted:
    """A codec and the documents as it quantises them."""

    codec: Codec
    documents_MK: Float[Tensor, "M K"]
    """Cut and re-normalised."""


class Documents:
    """Document embeddings, and all that codecs learned from them, kept: tasks on one corpus fit every codec once."""

    def __init__(self, embeddings_MD: Float[Tensor, "M D"]) -> None:
        """Embeddings of any length.

        Raises:
            UserError: NaN or infinity in them.
        """
        check_finite(embeddings_MD)
        self.embeddings_MD = embeddings_MD
        self.unit_MD = normalized(embeddings_MD)
        self.bases = Bases(self.unit_MD)
        self._numbers: dict[Spec, NumberCodec] = {}
        self._lock = RLock()  # two tasks may want the same codec at the same time

    def fit_all(self, specs: Sequence[Spec]) -> Iterator[tuple[list[Spec], Fitted | UserError]]:
        """Each codec fitted on the documents, with the specs that differ in the re-ranking only.

        An error in place of a codec says why these documents cannot have it; the others go on. One basis and one cut
        of all documents are in memory at a time.
        """

        def basis_of(spec: Spec) -> tuple:
            return spec.method, spec.seed

        ordered = sorted(specs, key=lambda spec: (*basis_of(spec), spec.width, spec.numbers, spec.argument))
        for _, of_basis in groupby(ordered, basis_of):
            transformed: Tensor | None = None
            for width, of_width in groupby(of_basis, lambda spec: spec.width):
                cut: Tensor | None = None
                for spec, same in groupby(of_width, lambda spec: spec.search):
                    try:
                        basis = self.basis(spec)
                        if transformed is None:
                            transformed = basis.apply(self.unit_MD)
                        if cut is None:
                            cut = normalized(transformed[:, :width])
                        codec = Codec(spec, self.unit_MD.shape[1], basis, self._fitted(spec, cut))
                        found: Fitted | UserError = Fitted(codec, cut)
                    except UserError as error:
                        found = error
                    yield list(same), found

    def basis(self, spec: Spec) -> Basis:
        """The basis of a codec; raises UserError where these documents cannot have it."""
        with self._lock:
            return self.bases.fit(spec.method, spec.seed, spec.width)

    def _fitted(self, spec: Spec, cut_MK: Tensor) -> NumberCodec:
        with self._lock:
            if spec not in self._numbers:
                numbers = spec.codec(spec.width, spec.argument)
                numbers.fit(cut_MK)
                self._numbers[spec] = numbers
            return self._numbers[spec]
