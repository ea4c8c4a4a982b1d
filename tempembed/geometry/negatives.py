"""How unevenly the negatives of a batch share the gradient (the paper, Figure 1)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Influence:
    """Of the negatives of an average query, at one temperature."""

    temperature: float
    effective: float
    """`exp(H(r))`: as many equal negatives would be as uneven."""
    hardest: float
    """Share of the gradient of the hardest one."""
    hardest_tenth: float
    """Share of the hardest 10 %."""
    curve_K: Float[Tensor, " K"]
    """Mean share by rank, hardest first."""


def influence(
    queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"], temperature: float
) -> Influence:
    """Relative penalties `r_ij = exp(s_ij / tau) / sum_{k != i} exp(s_ik / tau)` (Wang & Liu 2021, eq. 5).

    Args:
        queries_BD: unit vectors.
        documents_BD: unit vectors; row i belongs to query i, all others are its negatives.
        temperature: tau.
    """
    logits = queries_BD @ documents_BD.T / temperature
    logits.fill_diagonal_(-torch.inf)
    shares = logits.softmax(1).sort(dim=1, descending=True).values[:, :-1].double()
    entropy = torch.special.entr(shares).sum(1)
    tenth = max(1, round(0.1 * shares.shape[1]))
    return Influence(
        temperature, entropy.exp().mean().item(), shares[:, 0].mean().item(),
        shares[:, :tenth].sum(1).mean().item(), shares.mean(0),
    )  # fmt: skip


def random_influence(num: int, width: int, temperature: float, seed: int = 0) -> Influence:
    """The same of random unit vectors: the left half of Figure 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(2, num, width, generator=generator), dim=-1)
    return influence(rows[0], rows[1], temperature)
