"""Which coordinates a codec keeps: every width codec is a change of coordinates, and then the first K of them."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.system.errors import UserError


def normalized(embeddings_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M D"]:
    """Each row at length 1; a zero row stays zero."""
    return torch.nn.functional.normalize(embeddings_MD, dim=-1)


class Method(NamedTuple):
    """A way to choose coordinates."""

    learns: bool
    """Whether it depends on the documents."""
    takes_seed: bool = False


METHODS = {
    "prefix": Method(learns=False),
    "random": Method(learns=False, takes_seed=True),
    "variance": Method(learns=True),
    "pca": Method(learns=True),
    "whiten": Method(learns=True),
}
"""The methods by name; `Bases.fit` says what each does."""


@dataclass(frozen=True)
class Basis:
    """New coordinates `(x - mean) @ matrix`, or the old ones in another order. All widths are prefixes of them."""

    order_K: Int[Tensor, " K"] | None = None
    mean_D: Float[Tensor, " D"] | None = None
    matrix_DK: Float[Tensor, "D K"] | None = None

    def apply(self, unit_MD: Float[Tensor, "M D"], width: int | None = None) -> Float[Tensor, "M K"]:
        """The first `width` new coordinates (default: all) of unit vectors."""
        if self.matrix_DK is not None and self.mean_D is not None:
            matrix = self.matrix_DK[:, :width]
            return torch.addmm(-(self.mean_D @ matrix), unit_MD, matrix)
        return unit_MD[:, :width] if self.order_K is None else unit_MD[:, self.order_K[:width]]

    def state(self, width: int) -> dict[str, Tensor]:
        """The tensors that a codec of that width needs."""
        if self.order_K is not None:
            return {"order": self.order_K[:width].contiguous()}
        if self.matrix_DK is not None and self.mean_D is not None:
            return {"matrix": self.matrix_DK[:, :width].contiguous(), "mean": self.mean_D}
        return {}

    @staticmethod
    def shapes(method: str, full: int, width: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors in `state`."""
        if method in ("pca", "whiten"):
            return {"matrix": (full, width), "mean": (full,)}
        return {} if method == "prefix" else {"order": (width,)}

    @staticmethod
    def load(state: dict[str, Tensor]) -> "Basis":
        """The basis of a `state`."""
        return Basis(state.get("order"), state.get("mean"), state.get("matrix"))


class Bases:
    """The bases of one set of documents, each fitted once and shared by all codecs."""

    def __init__(self, documents_MD: Float[Tensor, "M D"]) -> None:
        """Takes the documents' unit vectors."""
        self._documents = documents_MD
        self._fitted: dict[tuple[str, int], Basis] = {}
        self._eigen: tuple[Tensor, Tensor, Tensor] | None = None

    def fit(self, method: str, seed: int, width: int) -> Basis:
        """The basis of a method, for widths up to `width`.

        `prefix`: as they are. `random`: a permutation by `seed`. `variance`: the coordinates of largest variance
        over the documents first. `pca`: principal components of the documents, centred. `whiten`: these divided
        by their standard deviation (docs/design/paper.md section 5: y = Lambda^(-1/2) U^T (x - mean)).

        Raises:
            UserError: more components than the documents have directions.
        """
        num, full = self._documents.shape
        if method in ("pca", "whiten"):
            rank = self._rank()
            if width > rank:
                raise UserError(
                    f"codec {method}:{width}: expected documents that span at least {width} directions, got {rank} "
                    f"from {num} documents; give more documents or a smaller width"
                )
        key = (method, seed if method == "random" else 0)
        if key not in self._fitted:
            self._fitted[key] = self._fit(method, seed, full)
        return self._fitted[key]

    def _fit(self, method: str, seed: int, full: int) -> Basis:
        if method == "prefix":
            return Basis()
        if method == "random":
            return Basis(torch.randperm(full, generator=torch.Generator().manual_seed(seed)))
        if method == "variance":
            return Basis(self._documents.var(0).argsort(descending=True, stable=True))
        mean, values, vectors = self._decomposition()
        if method == "whiten":
            rank = self._rank()
            vectors = vectors[:, :rank] * values[:rank].rsqrt()
        return Basis(None, mean, vectors.float())

    def _decomposition(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, eigenvalues (descending) and eigenvectors of the documents' covariance."""
        if self._eigen is None:
            mean = self._documents.mean(0)
            centred = self._documents - mean
            values, vectors = torch.linalg.eigh((centred.T @ centred).double() / max(1, len(centred)))
            vectors = vectors.flip(1)
            # an eigenvector's sign is arbitrary: the largest entry is positive, so that equal data give equal codecs
            largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
            self._eigen = mean, values.flip(0), vectors * largest.sign()
        return self._eigen

    def _rank(self) -> int:
        """Directions with variance: what is below the rounding of float32 products is none."""
        _, values, _ = self._decomposition()
        return int((values > values[0].clamp_min(1e-30) * 1e-6).sum()) if values[0] > 1e-12 else 0
