"""What a number codec is: it turns the kept coordinates of a document into a stored code, and back into a vector.

Every score is an inner product with that vector. Bits compare ±1 with ±1, which is the Hamming distance; of all others
the query stays float32.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor


class NumberCodec(ABC):
    """Fitted on documents; `state` is all that it learned."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.state: dict[str, Tensor] = {}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors in `state`, once fitted; all are float32."""
        return {}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:  # noqa: B027 (most learn nothing)
        """Learn from documents, cut and re-normalised."""

    @abstractmethod
    def encode(self, documents_MK: Float[Tensor, "M K"]) -> Tensor:
        """Codes of M rows, as they are stored."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Float[Tensor, "M K"]:
        """The vectors that scores are made of, float32."""

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q K"]:
        """What a query is compared as."""
        return queries_QK


class Floats(NumberCodec):
    """float32 or float16 as they are."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__(width)
        self._dtype = dtype

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> Tensor:
        """Rounded to the type."""
        return documents_MK.to(self._dtype)

    def decode(self, codes: Tensor) -> Float[Tensor, "M K"]:
        """As float32."""
        return codes.float()
