"""Intrinsic dimension as a training curve, and what the sign bits are worth: covariances of a sample of the documents that pass by."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.bits import participation, signs
from tempembed.geometry.moments import Moments
from tempembed.geometry.spectrum import participation_ratio, pca_count, spectrum

STRIDE = 16
"""Steps from one that is looked at to the next: two D x D products of all rows would cost a fifth of a static step."""
ROWS_PER_WIDTH = 5
"""A window has 5 D rows: 5,120 at the paper's width, about its n."""


class SpectrumWatch:
    """Windows of documents; at the end of each their spectrum, the sums taken over all ranks.

    Which steps are looked at depends on the step's number alone, so all ranks agree. A resumed run starts a new window.
    Uses no random numbers and no gradient: training is the same to the bit with and without it.
    """

    def __init__(self, width: int, batch_size: int, reduce: Callable[[Tensor], None]) -> None:
        """`batch_size` is the global one; `reduce` sums a tensor over the ranks, in place."""
        self._width, self._reduce = width, reduce
        self.window = STRIDE * math.ceil(ROWS_PER_WIDTH * width / batch_size)
        """Steps from one spectrum to the next."""
        self._moments: tuple[Moments, Moments] | None = None
        """Of the embeddings, and of their signs."""
        self._latest: dict[str, float] = {}

    @torch.no_grad()
    def observe(self, step: int, documents_BD: Float[Tensor, "B D"]) -> None:
        """A step's documents, as the encoder made them."""
        if step % STRIDE:
            return
        if self._moments is None:
            zeros = torch.zeros(self._width, device=documents_BD.device)
            self._moments = Moments(self._width, zeros), Moments(self._width, zeros)
        for moments, rows in zip(
            self._moments,
            (torch.nn.functional.normalize(documents_BD.float(), dim=-1), signs(documents_BD)),
            strict=True,
        ):
            moments.add(rows)
        if (step + STRIDE) % self.window == 0:
            self._close()

    def _close(self) -> None:
        assert self._moments is not None
        for each in self._moments:
            for tensor in each.tensors():
                self._reduce(tensor)
        (moments, of_signs), self._moments = self._moments, None
        if moments.count < self._width:
            return  # resumed within a window
        eigenvalues = spectrum(moments)
        share = eigenvalues.cumsum(0) / eigenvalues.sum().clamp_min(1e-300)
        self._latest = {
            "train/intrinsic_dimension": float(pca_count(eigenvalues)),
            "train/intrinsic_dimension_rows": moments.count.item(),
            "train/participation_ratio": participation_ratio(eigenvalues),
            "train/bit_participation": participation(of_signs.covariance()),
            "train/spectrum/top_1": share[0].item(),
            "train/spectrum/top_10": share[min(9, len(share) - 1)].item(),
            "train/spectrum/top_100": share[min(99, len(share) - 1)].item(),
        }

    def report(self) -> dict[str, float]:
        """The last window's measures, once; empty until the next is full."""
        latest, self._latest = self._latest, {}
        return latest
