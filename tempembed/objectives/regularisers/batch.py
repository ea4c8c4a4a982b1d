"""What a regulariser sees: a batch's embeddings, this rank's rows and those of all ranks, and a teacher's scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EmbeddedBatch:
    """A batch as the encoder made it, not normalised.

    A statistic of the whole batch is taken of `queries_GD` and `documents_GD`, which every rank sees alike. What concerns a query
    and its own candidates needs the local rows alone: give their sum and number to `mean`.

    Normalise with `torch.nn.functional.normalize` where lengths must not count: `losses.unit` writes its gradient in place.
    """

    queries_BD: Float[Tensor, "B D"]
    """This rank's."""
    documents_BD: Float[Tensor, "B D"]
    hard_negatives_NBD: Float[Tensor, "N B D"] | None = None
    """0 where a row has fewer than N."""
    scores_KB: Float[Tensor, "K B"] | None = None
    """A teacher's, of each row's document and of its N hard negatives; NaN where there is none. None: the data has no scores."""
    gather: Callable[[Tensor], Tensor] = lambda local: local
    """Rows of all ranks, whose gradient is summed over ranks."""

    @cached_property
    def queries_GD(self) -> Float[Tensor, "G D"]:
        """Of the global batch."""
        return self.gather(self.queries_BD)

    @cached_property
    def documents_GD(self) -> Float[Tensor, "G D"]:
        """Of the global batch."""
        return self.gather(self.documents_BD)

    def mean(self, total: Float[Tensor, ""], number: Tensor) -> Float[Tensor, ""]:
        """The mean over all ranks of what this rank has the sum and the number of; 0 where there is nothing.

        As a rank's value it is scaled so that the mean over ranks, which is taken of gradients too, is that of one process.
        """
        numbers = self.gather(number.reshape(1).to(total.dtype))
        return total * len(numbers) / numbers.sum().clamp_min(1)

    def candidates(self) -> tuple[Float[Tensor, "K B"], Float[Tensor, "K B"], Bool[Tensor, "K B"]]:
        """Cosine of each query with its document and its hard negatives; the teacher's scores of them; where there are both.

        Raises:
            UserError: the data has no teacher scores.
        """
        if self.scores_KB is None:
            raise UserError(
                "--regularisers: expected data with a column of scores, a teacher's of each candidate, got none; "
                "tempembed mine --judge or --cross-encoder makes it"
            )
        sides = [self.documents_BD, *(self.hard_negatives_NBD if self.hard_negatives_NBD is not None else ())]
        queries, candidates = (
            torch.nn.functional.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
            for x in (self.queries_BD, torch.stack(sides))
        )
        has = self.scores_KB.isfinite()
        return (queries * candidates).sum(-1), self.scores_KB.nan_to_num().to(queries.dtype), has & has[:1]
