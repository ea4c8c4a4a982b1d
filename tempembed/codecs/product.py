"""Product quantisation (Jégou et al. 2011): a vector in m parts, each stored as the nearest of 256 centroids, one byte."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempembed.codecs.numbers import NumberCodec
from tempembed.system.errors import UserError

CENTROIDS = 256
ROWS = 39 * CENTROIDS  # as many for each centroid as faiss wants
ITERATIONS = 8  # of k-means: faiss's 25 leave 0.2 to 1.5 % less squared error for three times the time


class ProductQuantizer(NumberCodec):
    """m bytes a vector. A score is float query x centroids, which is what faiss's look-up tables add up."""

    name = "pq"
    title = "product quantisation"
    family = "product quantisation"
    takes_argument = True

    def __init__(self, width: int, argument: int) -> None:
        super().__init__(width, argument)
        self._num_parts = argument

    @classmethod
    def size(cls, width: int, argument: int) -> int:
        """A byte for each part."""
        return argument

    @classmethod
    def within(cls, budget: int, full: int) -> tuple[int, int] | None:
        """All coordinates, in as many parts as there are bytes."""
        return None if full % budget else (full, budget)

    @classmethod
    def refusal(cls, width: int, argument: int) -> str | None:
        """Parts are equally wide."""
        if argument < 1 or width % argument:
            return f"pq needs bytes that divide the width {width}, got {argument}"
        return None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"centroids": (self._num_parts, CENTROIDS, self.width // self._num_parts)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Faiss's k-means, on 9,984 of the documents evenly spread.

        Raises:
            UserError: fewer documents than centroids.
        """
        import faiss

        if len(documents_MK) < CENTROIDS:
            raise UserError(
                f"codec pq:{self._num_parts}: expected at least {CENTROIDS} documents to learn from, got {len(documents_MK)}"
            )
        sample = documents_MK[:: max(1, len(documents_MK) // ROWS)][:ROWS].contiguous()
        quantizer = faiss.ProductQuantizer(self.width, self._num_parts, 8)
        quantizer.cp.min_points_per_centroid = 1  # no warnings for small corpora
        quantizer.cp.niter = ITERATIONS
        quantizer.train(sample.numpy())
        centroids = faiss.vector_to_array(quantizer.centroids).reshape(self._num_parts, CENTROIDS, -1)
        self.state = {"centroids": torch.from_numpy(centroids.copy())}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """The nearest centroid of each part."""
        import faiss

        quantizer = faiss.ProductQuantizer(self.width, self._num_parts, 8)
        faiss.copy_array_to_vector(self.state["centroids"].numpy().ravel(), quantizer.centroids)
        return torch.from_numpy(quantizer.compute_codes(documents_MK.contiguous().numpy()))

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """The centroids."""
        parts = torch.arange(self._num_parts)
        return self.state["centroids"][parts, codes.long()].flatten(1)
