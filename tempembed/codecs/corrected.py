"""Codes with numbers beside them: a few bits a coordinate of the centred document, and float32 corrections of its own."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tempembed.codecs.numbers import NumberCodec

BLOCK_ROWS = 1024
"""Documents that are quantised at a time."""


class CorrectedCodec(NumberCodec):
    """Levels of each coordinate, packed, and then corrections, in one row of bytes.

    A document d, centred at c, is kept as a vector v with <q - c, v> near <q - c, d - c>, and the rest of its score exactly:
    <q, d> = <q - c, d - c> + <q, c> + <d, c> - <c, c>. So scores are inner products of [v, <d, c> - <c, c>, 1] with
    [q - c, 1, <q, c>], where an engine may round q - c in a way of its own.
    """

    corrections: ClassVar[tuple[str, ...]]
    """Names of the numbers beside the levels; the last is the exact rest."""
    correction_bytes: ClassVar[int]
    """What an engine keeps for them; here each is a float32, and a code that engines keep shorter is filled up."""

    @property
    def level_bits(self) -> int:
        """Bits of a coordinate."""
        return self.argument or self.bits

    @classmethod
    def size(cls, width: int, argument: int) -> int:
        """Levels and corrections."""
        return -(-width * (argument or cls.bits) // 8) + cls.correction_bytes

    def join(
        self, levels_MK: Int[Tensor, "M K"], corrections_MC: Float[Tensor, "M C"]
    ) -> UInt8[Tensor, "M B"]:
        """Codes as stored."""
        bits = (levels_MK[:, :, None] >> torch.arange(self.level_bits - 1, -1, -1)) & 1
        packed = np.packbits(bits.flatten(1).to(torch.uint8).numpy(), axis=1)
        codes = torch.zeros(len(packed), self.size(self.width, self.argument), dtype=torch.uint8)
        codes[:, : packed.shape[1]] = torch.from_numpy(packed)
        beside = corrections_MC.contiguous().view(torch.uint8)
        codes[:, packed.shape[1] : packed.shape[1] + beside.shape[1]] = beside
        return codes

    def split(self, codes: UInt8[Tensor, "M B"]) -> tuple[Float[Tensor, "M K"], Float[Tensor, "M C"]]:
        """Levels, as floats, and corrections."""
        packed = -(-self.width * self.level_bits // 8)
        bits = torch.from_numpy(
            np.unpackbits(codes[:, :packed].numpy(), axis=1, count=self.width * self.level_bits)
        )
        weights = 2 ** torch.arange(self.level_bits - 1, -1, -1)
        levels = (bits.unflatten(1, (self.width, self.level_bits)) * weights).sum(2).float()
        # numpy: torch cannot see floats in a single row of a wider matrix
        beside = codes[:, packed : packed + 4 * len(self.corrections)].numpy().copy()
        return levels, torch.from_numpy(beside.view(np.float32))

    def columns(self, codes: Tensor) -> dict[str, Tensor]:
        """Levels, and each correction by its name."""
        packed = -(-self.width * self.level_bits // 8)
        _, beside = self.split(codes)
        named = dict(zip(self.corrections, beside.unbind(1), strict=True))
        return {"code": codes[:, :packed], **named}

    def whole(self, vectors_MK: Float[Tensor, "M K"], rest_M: Float[Tensor, " M"]) -> Float[Tensor, "M V"]:
        """Documents as scores take them."""
        return torch.cat([vectors_MK, rest_M[:, None], torch.ones(len(rest_M), 1)], dim=1)

    def asked(
        self, centred_QK: Float[Tensor, "Q K"], queries_QK: Float[Tensor, "Q K"]
    ) -> Float[Tensor, "Q V"]:
        """Queries as scores take them.

        Args:
            centred_QK: q - c, rounded or not.
            queries_QK: q.
        """
        along = queries_QK @ self.state["centre"]
        return torch.cat([centred_QK, torch.ones(len(along), 1), along[:, None]], dim=1)

    def rest(self, documents_MK: Float[Tensor, "M K"]) -> Float[Tensor, " M"]:
        """<d, c> - <c, c>."""
        return (documents_MK - self.state["centre"]) @ self.state["centre"]
