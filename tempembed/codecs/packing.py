"""Bits packed eight to a byte, and half-bytes two to a byte."""

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor


def pack(bits_MD: Bool[Tensor, "M D"]) -> UInt8[Tensor, "M B"]:
    """B = D / 8 rounded up; the first coordinate is the highest bit; padding bits are zero."""
    return torch.from_numpy(np.packbits(bits_MD.numpy(), axis=1))


def unpack(codes_MB: UInt8[Tensor, "M B"], dim: int) -> Bool[Tensor, "M D"]:
    """The bits that `pack` packed, without the padding."""
    return torch.from_numpy(np.unpackbits(codes_MB.numpy(), axis=1, count=dim)).bool()


def pack_nibbles(values_MD: UInt8[Tensor, "M D"]) -> UInt8[Tensor, "M B"]:
    """Numbers 0 to 15, B = D / 2 rounded up; the first is the higher half."""
    if values_MD.shape[1] % 2:
        values_MD = torch.nn.functional.pad(values_MD, (0, 1))
    return (values_MD[:, ::2] << 4) | values_MD[:, 1::2]


def unpack_nibbles(codes_MB: UInt8[Tensor, "M B"], dim: int) -> UInt8[Tensor, "M D"]:
    """The numbers that `pack_nibbles` packed."""
    return torch.stack([codes_MB >> 4, codes_MB & 15], dim=2).flatten(1)[:, :dim]
