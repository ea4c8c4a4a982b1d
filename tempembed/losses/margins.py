"""False negatives by similarity: candidates that come too near to a row's positive, as the model itself or a second one sees it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempembed.losses.unit import unit
from tempembed.objectives.margin import Margin
from tempembed.parallel.gather import gather


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What a second model makes of this rank's texts, of any width E; no gradient flows to it."""

    queries_BE: Float[Tensor, "B E"]
    documents_BE: Float[Tensor, "B E"]
    hard_negatives_NBE: Float[Tensor, "N B E"] | None = None
    """Whatever it is where a row has no such negative."""
    margin: Margin


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Unit embeddings as a judge has them: local rows, and candidates in the order of the loss's columns."""

    rows_BE: Float[Tensor, "B E"]
    columns_CE: Float[Tensor, "C E"]
    margin: Margin

    @staticmethod
    def of(guide: Guide) -> "Seen":
        """The guide's embeddings, those of the candidates gathered over ranks."""
        sides = [
            guide.documents_BE,
            *(guide.hard_negatives_NBE if guide.hard_negatives_NBE is not None else ()),
        ]
        columns = torch.cat([gather(unit(side_BE)) for side_BE in sides])
        return Seen(rows_BE=unit(guide.queries_BE), columns_CE=columns, margin=guide.margin)

    def matrix(self, positive_B: Int[Tensor, " B"]) -> Bool[Tensor, "B C"]:
        """The masks as a matrix, for the dense loss."""
        similar_BC = self.rows_BE @ self.columns_CE.T
        positive_B1 = similar_BC.gather(1, positive_B[:, None])
        too_near_BC = similar_BC > self.margin.highest(positive_B1)
        return too_near_BC.scatter(1, positive_B[:, None], value=False)

    def other_way(self, positive_B: Int[Tensor, " B"]) -> "Seen":
        """Local positives as rows, the queries of all ranks as candidates."""
        return Seen(
            rows_BE=self.columns_CE[positive_B], columns_CE=gather(self.rows_BE.detach()), margin=self.margin
        )


class Limits:
    """The most that a candidate's similarity may be, for the rows and, in the other direction, for the columns of a block.

    Args:
        highest_B: for each local row.
        seen: what judges; None: the similarities of the loss itself, at its widest dim.
        both: also each positive column's own limit, which its rank knows.
    """

    def __init__(self, highest_B: Float[Tensor, " B"], seen: Seen | None, *, both: bool) -> None:
        self._rows, self._seen = highest_B, seen
        self._columns = gather(highest_B) if both else None

    def too_near(
        self, strip: slice, products: Float[Tensor, "R C"]
    ) -> tuple[Bool[Tensor, "R C"], Bool[Tensor, "R G"] | None]:
        """Which candidates of a strip of rows are above the row's limit, and which rows above the positive column's.

        Args:
            strip: the rows.
            products: their similarities at the loss's widest dim.
        """
        if self._seen is not None:
            products = self._seen.rows_BE[strip] @ self._seen.columns_CE.T
        rows = products > self._rows[strip, None]
        return rows, None if self._columns is None else products[:, : len(self._columns)] > self._columns
