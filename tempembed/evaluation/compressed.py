"""Documents that went through a codec, for tasks that learn from stored vectors."""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.system.errors import UserError


def compressed(
    specs: Sequence[Spec], documents: Documents, fit_on: Sequence[int] | None = None
) -> Iterator[tuple[Spec, Float[Tensor, "M K"] | UserError]]:
    """The documents, encoded and decoded: unit vectors, ±1 for bits. Codecs that re-rank a search are left out: there is none.

    Codecs are fitted on all documents, or on the rows `fit_on`.
    """
    embeddings = documents.embeddings_MD
    rest = [spec for spec in specs if not spec.rerank]
    fitted_on = documents if fit_on is None else Documents(embeddings[list(fit_on)])
    for same, fitted in fitted_on.fit_all(rest):
        yield same[0], fitted if isinstance(fitted, UserError) else fitted.codec.reconstruct(embeddings)
