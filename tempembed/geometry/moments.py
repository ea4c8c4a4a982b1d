"""Sums of embeddings and of their outer products, block by block: all that linear measures of dimension need."""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 16_384


class Moments:
    """Count, sum and Gram matrix of rows, about a fixed `shift`. Adding two of one shift is adding their tensors.

    Products are float32 (a block of 16,384 rows at a time) and are added up in float64; taking the shift off first
    keeps a large common mean from cancelling the digits of the covariance.
    """

    def __init__(self, width: int, shift_D: Float[Tensor, " D"] | None = None) -> None:
        self.shift_D = torch.zeros(width) if shift_D is None else shift_D
        device = self.shift_D.device
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.sum_D = torch.zeros(width, dtype=torch.float64, device=device)
        self.gram_DD = torch.zeros(width, width, dtype=torch.float64, device=device)

    @staticmethod
    def of(rows_MD: Float[Tensor, "M D"]) -> "Moments":
        """The moments of all rows, about the mean of the first block."""
        moments = Moments(rows_MD.shape[1], rows_MD[:BLOCK].mean(0))
        moments.add(rows_MD)
        return moments

    def add(self, rows_MD: Float[Tensor, "M D"]) -> None:
        """Count these rows in."""
        for block in rows_MD.split(BLOCK):
            shifted = block - self.shift_D
            self.count += len(block)
            self.sum_D += shifted.sum(0, dtype=torch.float64)
            self.gram_DD += shifted.T @ shifted

    def tensors(self) -> list[Tensor]:
        """The tensors that are summed over ranks."""
        return [self.count, self.sum_D, self.gram_DD]

    def covariance(self) -> Float[Tensor, "D D"]:
        """About the mean, divided by the count; float64."""
        mean = self.sum_D / self.count
        return self.gram_DD / self.count - mean[:, None] * mean

    def uncentred(self) -> Float[Tensor, "D D"]:
        """Sum of the rows' outer products about zero; float64."""
        shift = self.shift_D.double()
        cross = self.sum_D[:, None] * shift
        return self.gram_DD + cross + cross.T + self.count * shift[:, None] * shift
