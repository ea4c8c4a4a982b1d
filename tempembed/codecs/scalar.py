"""Scalar quantisation as faiss and Qdrant do it."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempembed.codecs.numbers import NumberCodec


class FaissScalar(NumberCodec):
    """faiss's QT_8bit: the range of each dimension over the documents in 256 equal parts, each decoded as its middle.

    `code = floor(255 (x - low) / (high - low))`, `x' = low + (code + 1/2) / 255 (high - low)`.
    """

    name = "sq8"
    title = "faiss's 8 bits"
    family = "int8"
    bits = 8
    lab_methods = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"low": (self.width,), "range": (self.width,)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Least and largest value of each dimension."""
        low, high = documents_MK.aminmax(dim=0)
        self.state = {"low": low, "range": high - low}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """A byte a dimension; values outside the range are clipped to its ends."""
        width = torch.where(self.state["range"] > 0, self.state["range"], 1)
        share = ((documents_MK - self.state["low"]) / width).clamp_(0, 1)
        return (255 * share).to(torch.uint8)

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """The middle of the part."""
        return self.state["low"] + (codes.float() + 0.5) / 255 * self.state["range"]


class QdrantScalar(NumberCodec):
    """Qdrant's int8: one range for all dimensions in 127 steps, 7 bits in a byte; queries are rounded as documents are.

    The range leaves out the values beyond a quantile of 0.99: of the sorted values of a sample of n documents n (1 - 0.99) / 2 at
    either end, at least one, as Qdrant counts them.
    """

    name = "qdrant8"
    title = "Qdrant's int8"
    family = "int8"
    bits = 8
    lab_methods = ()
    QUANTILE = 0.99
    SAMPLE = 5000
    STEPS = 127

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"low": (1,), "step": (1,)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """The range, on at most 5,000 of the documents, evenly spread."""
        sample = documents_MK[:: -(-len(documents_MK) // self.SAMPLE)]
        values = sample.flatten().sort().values
        cut = min((len(values) - 1) // 2, max(1, int(len(sample) * (1 - self.QUANTILE) / 2)))
        low, high = values[cut], values[len(values) - 1 - cut]
        self.state = {"low": low[None].clone(), "step": ((high - low) / self.STEPS)[None].clone()}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """A byte a dimension; values outside the range are clipped to its ends."""
        step = torch.where(self.state["step"] > 0, self.state["step"], 1)
        return ((documents_MK - self.state["low"]) / step).clamp_(0, self.STEPS).round_().to(torch.uint8)

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """`low + step * code`."""
        return self.state["low"] + self.state["step"] * codes.float()

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q K"]:
        """Rounded as documents are."""
        return self.decode(self.encode(queries_QK))
