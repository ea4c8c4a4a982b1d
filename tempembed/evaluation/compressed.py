"""Texts that went through a codec, for tasks that compare stored vectors with each other or learn from them."""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from tempembed.compression.codec import check_finite
from tempembed.compression.lab import fit_all
from tempembed.compression.spec import Spec
from tempembed.errors import UserError


def compressed(
    specs: Sequence[Spec], documents_MD: Float[Tensor, "M D"], fit_on: Sequence[int] | None = None
) -> Iterator[tuple[Spec, Float[Tensor, "M K"] | UserError]]:
    """The documents, encoded and decoded: ±1 for bits. Codecs that re-rank a search are left out: there is none.

    float32 at full width is the model's own vector, not normalised, as mteb takes it. Codecs are fitted on all documents,
    or on the rows `fit_on`.
    """
    check_finite(documents_MD)
    full = Spec(width=documents_MD.shape[1])
    if full in specs:
        yield full, documents_MD
    rest = [spec for spec in specs if spec != full and not spec.rerank]
    fit_MD = documents_MD if fit_on is None else documents_MD[list(fit_on)]
    for same, fitted in fit_all(rest, fit_MD):
        yield same[0], fitted if isinstance(fitted, UserError) else fitted.codec.reconstruct(documents_MD)
