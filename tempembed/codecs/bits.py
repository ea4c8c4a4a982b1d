"""One bit a coordinate: its sign, or its side of the documents' median, as it is or after a rotation."""

from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempembed.codecs.numbers import NumberCodec
from tempembed.codecs.packing import pack, unpack


class SignBits(NumberCodec):
    """`bit = [x > 0]`; vectors ±1, so that an inner product is K - 2 (Hamming distance) (docs/design/paper.md 4.7)."""

    name = "binary"
    title = "sign bits"
    family = "one bit"
    bits = 1
    learns = False
    is_bits = True
    precision: ClassVar[str | None] = "ubinary"
    in_probe = True

    def project(self, rows_MK: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """The numbers whose signs are the bits; re-ranking compares the query's with ±1."""
        return rows_MK

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """Packed, B = K / 8 rounded up."""
        return pack(self.project(documents_MK) > 0)

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """±1."""
        return unpack(codes, self.width).float().mul_(2).sub_(1)

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q K"]:
        """±1 as well."""
        return torch.where(self.project(queries_QK) > 0, 1.0, -1.0)


class MedianBits(SignBits):
    """`bit = [x > median of the dimension over the documents]`: both values are equally frequent."""

    name = "median"
    title = "median bits"
    learns = True
    precision = None
    in_probe = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"median": (self.width,)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Medians of the dimensions."""
        self.state = {"median": documents_MK.median(0).values}

    def project(self, rows_MK: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """Distance from the median."""
        return rows_MK - self.state["median"]


class RotatedBits(SignBits):
    """Signs after a random rotation, which spreads the variance evenly over the bits."""

    name = "rotated"
    title = "rotated bits"
    precision = None
    in_probe = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"rotation": (self.width, self.width)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Draw the rotation."""
        self.state = {"rotation": random_rotation(self.width)}

    def project(self, rows_MK: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """Rotated."""
        return rows_MK @ self.state["rotation"]


class ItqBits(RotatedBits):
    """Signs after the rotation that brings documents nearest to ±1 (ITQ, Gong & Lazebnik 2011).

    `min over B = ±1 and orthogonal R of ||B - V R||^2`, in turns: `B = sign(V R)`, then R from the singular value
    decomposition of `V^T B`, from a random rotation. V is centred; the mean is kept, and taken from queries as well.
    """

    name = "itq"
    title = "ITQ bits"
    learns = True
    lab_methods = ("pca",)
    sweep_methods = ("pca",)
    ROUNDS = 30
    ROWS = 4096

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"mean": (self.width,), "rotation": (self.width, self.width)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Learn the rotation, on 4,096 of the documents evenly spread."""
        super().fit(documents_MK)
        mean = documents_MK.mean(0)
        centred = documents_MK[:: max(1, len(documents_MK) // self.ROWS)] - mean
        rotation = self.state["rotation"]
        for _ in range(self.ROUNDS):
            rotated = centred @ rotation
            rotation = _nearest_rotation(centred.T @ torch.where(rotated > 0, 1.0, -1.0), rotation)
        self.state = {"mean": mean, "rotation": rotation.contiguous()}

    def project(self, rows_MK: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """Centred and rotated."""
        return (rows_MK - self.state["mean"]) @ self.state["rotation"]


def random_rotation(width: int) -> Float[Tensor, "K K"]:
    """The orthogonal factor of a Gaussian matrix, seed 0."""
    q, r = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))
    return q * r.diagonal().sign()


def _nearest_rotation(matrix_KK: Tensor, otherwise: Tensor) -> Tensor:
    """The orthogonal matrix of largest inner product with it: U V^T of its singular value decomposition."""
    if not matrix_KK.any():  # all documents are equal: every rotation is as good
        return otherwise
    u, _, vt = torch.linalg.svd(matrix_KK)
    return u @ vt
