"""int8 and int4: each dimension's range cut into equal steps, calibrated on documents and stored with the codec."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempembed.codecs.numbers import NumberCodec
from tempembed.codecs.packing import pack_nibbles, unpack_nibbles

SHRINKAGE = {8: (1.0,), 4: (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)}
"""Shares of the range that are tried; what lies outside is clipped. 16 steps are too few for a dimension's outliers."""
ROWS = 16_384


class Integers(NumberCodec):
    """`low + step * code`, code from 0 to 2^bits - 1. Scores dequantise: float query x `low + step * code`.

    A dimension's range is the documents' least to largest value, or for int4 the share of it (about its middle) that
    leaves the least squared error on the documents. A constant dimension has step 0 and is stored exactly.
    """

    sweep_methods = ("prefix", "pca")
    in_probe = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what it learns."""
        return {"low": (self.width,), "step": (self.width,)}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:
        """Calibrate on documents (of more than 16,384 the clipping on that many, evenly spread)."""
        low, step = calibrate(documents_MK, self.bits)
        self.state = {"low": low, "step": step}

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> UInt8[Tensor, "M B"]:
        """A byte a dimension, or half of one; values outside the range are clipped to its ends."""
        codes = _codes(documents_MK, self.state["low"], self.state["step"], self.bits).to(torch.uint8)
        return pack_nibbles(codes) if self.bits == 4 else codes

    def decode(self, codes: UInt8[Tensor, "M B"]) -> Float[Tensor, "M K"]:
        """`low + step * code`."""
        values = unpack_nibbles(codes, self.width) if self.bits == 4 else codes
        return _dequantise(values.float(), self.state["low"], self.state["step"])


class Int8(Integers):
    """256 steps."""

    name = family = "int8"
    bits = 8
    lab_methods = ("prefix", "variance", "pca", "whiten")


class Int4(Integers):
    """16 steps."""

    name = family = "int4"
    bits = 4
    lab_methods = ("prefix", "pca")


def calibrate(
    documents_MK: Float[Tensor, "M K"], bits: int
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Each dimension's `low` and `step`, of documents."""
    low, high = documents_MK.aminmax(dim=0)
    middle, half = (low + high) / 2, (high - low) / 2
    sample = documents_MK[:: max(1, len(documents_MK) // ROWS)]
    best = torch.full_like(low, torch.inf)
    found = low, low
    for share in SHRINKAGE[bits]:
        start, step = middle - share * half, 2 * share * half / (2**bits - 1)
        if len(SHRINKAGE[bits]) == 1:
            return start, step
        error = (rounded(sample, start, step, bits) - sample).square().mean(0)
        better = error < best
        best = torch.where(better, error, best)
        found = torch.where(better, start, found[0]), torch.where(better, step, found[1])
    return found


def rounded(
    values_MK: Float[Tensor, "M K"], low_K: Float[Tensor, " K"], step_K: Float[Tensor, " K"], bits: int
) -> Float[Tensor, "M K"]:
    """What is left of values when they are stored: `low + step * code`."""
    return _dequantise(_codes(values_MK, low_K, step_K, bits), low_K, step_K)


def _codes(values_MK: Tensor, low_K: Tensor, step_K: Tensor, bits: int) -> Tensor:
    # step 0: any divisor gives code 0, and low alone gives the constant back
    scaled = (values_MK - low_K) / torch.where(step_K > 0, step_K, 1)
    return scaled.round_().clamp_(0, 2**bits - 1)


def _dequantise(codes_MK: Tensor, low_K: Tensor, step_K: Tensor) -> Tensor:
    return torch.addcmul(low_K, codes_MK, step_K)
