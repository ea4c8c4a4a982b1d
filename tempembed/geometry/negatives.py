"""How unevenly the negatives of a batch share the gradient (the paper, Figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

CURVE_POINTS = 32
TRAINING_TEMPERATURES = (0.03, 0.1, 0.4)
TRAINING_QUERIES, TRAINING_DOCUMENTS = 64, 1024
"""Rows of a step's batch: enough for a curve, at half a hundredth of the time of ten static steps."""


@dataclass(frozen=True)
class Influence:
    """The influence of the negatives of an average query, at one temperature."""

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
    queries_QD: Float[Tensor, "Q D"], documents_BD: Float[Tensor, "B D"], temperatures: Sequence[float]
) -> list[Influence]:
    """Relative penalties `r_ij = exp(s_ij / tau) / sum_{k != i} exp(s_ik / tau)` (Wang & Liu 2021, eq. 5) at each tau.

    Args:
        queries_QD: unit vectors.
        documents_BD: unit vectors; row i belongs to query i, all others are its negatives. Q <= B, B > 2.
        temperatures: taus.
    """
    similarity = queries_QD @ documents_BD.T
    similarity.fill_diagonal_(-torch.inf)
    # the hardest are the same at every temperature: one sort serves all
    ordered = similarity.sort(dim=1, descending=True).values[:, :-1]
    tenth = max(1, round(0.1 * ordered.shape[1]))
    found = []
    for temperature in temperatures:
        shares = (ordered / temperature).softmax(1)
        effective = torch.special.entr(shares).sum(1).exp().mean().item()
        mean = shares.mean(0, dtype=torch.float64)
        found.append(Influence(temperature, effective, mean[0].item(), mean[:tenth].sum().item(), mean))
    return found


def random_influence(num: int, width: int, temperatures: Sequence[float], seed: int = 0) -> list[Influence]:
    """The same of random unit vectors: the left half of Figure 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(2, num, width, generator=generator), dim=-1)
    return influence(rows[0], rows[1], temperatures)


def influence_curves(model: Sequence[Influence], random: Sequence[Influence]) -> dict[str, Any]:
    """Figure 1 as plain JSON values.

    `ranks` of negatives, log-spaced, hardest first; `model` and `random` by temperature: the mean `shares` of these ranks
    and how many negatives are `effective`.
    """
    num = len(model[0].curve_K)
    ranks = sorted({round(num ** (i / (CURVE_POINTS - 1))) for i in range(CURVE_POINTS)})

    def of(measured: Sequence[Influence]) -> dict[str, Any]:
        return {
            f"{one.temperature:g}": {
                "effective": one.effective,
                "shares": [one.curve_K[rank - 1].item() for rank in ranks],
            }
            for one in measured
        }

    return {"ranks": ranks, "model": of(model), "random": of(random)}


@torch.no_grad()
def training_influence(
    queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"]
) -> dict[str, float]:
    """Figure 1 as training curves: how many negatives count, and the share of the hardest tenth, by temperature.

    Of a rank's own batch, as the encoder made it: its first 64 queries against its first 1,024 documents. A text that is
    twice in the batch counts as a negative here. Empty with fewer than two negatives.
    """
    queries = torch.nn.functional.normalize(queries_BD[:TRAINING_QUERIES].float(), dim=-1)
    documents = torch.nn.functional.normalize(documents_BD[:TRAINING_DOCUMENTS].float(), dim=-1)
    found = {}
    for one in influence(queries, documents, TRAINING_TEMPERATURES) if len(documents) > 2 else ():
        found[f"train/effective_negatives/{one.temperature:g}"] = one.effective
        found[f"train/hardest_tenth_share/{one.temperature:g}"] = one.hardest_tenth
    return found
