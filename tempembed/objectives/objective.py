"""Every objective is a list of terms, which one tiled pass computes, and regularisers, which are any functions of embeddings."""

from dataclasses import dataclass

from tempembed.objectives.margin import Margin
from tempembed.objectives.regularisers.registry import Weighted
from tempembed.objectives.term import INFONCE, Direction, Hardness, Terms


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a contrastive step minimises: the terms, weighted, and the regularisers, weighted."""

    terms: Terms
    direction: Direction = "query-to-document"
    hardness: Hardness = INFONCE
    regularisers: tuple[Weighted, ...] = ()
    margin: Margin | None = None
    """Candidates nearer to the positive are masked, by the model's own similarities."""
