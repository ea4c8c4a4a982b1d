"""A contrastive step: embed a batch of pairs, gather, the terms in one tiled pass, the regularisers."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.inputs.inputs import Inputs
from tempembed.losses.contrastive import contrastive_loss
from tempembed.losses.temperature import Temperatures
from tempembed.losses.views import clip_measures
from tempembed.objectives.objective import Objective
from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.parallel.gather import gather, gather_seconds
from tempembed.parallel.gradient_cache import cached_forward
from tempembed.run.stage import StepOutput
from tempembed.run.stopwatch import Stopwatch
from tempembed.stages.pair_data import PairBatch


class Embeds(Protocol):
    """What a step needs of an encoder beside its trunk."""

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """As `Encoder.chunks`."""


class PairStep(nn.Module):
    """The forward of contrastive training, wherever it is needed: in the loop, in `selfcheck`, in `plan`.

    Args:
        encoder: says which inputs go through it together.
        objective: its terms and regularisers.
        micro_batch_tokens: padded tokens that go through the encoder together; 0: as many as are best.
        gradient_cache: hold the activations of one micro-batch only.
        dense: the oracle in place of the tiled engine.
    """

    def __init__(
        self,
        encoder: Embeds,
        objective: Objective,
        *,
        micro_batch_tokens: int = 0,
        gradient_cache: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.temperatures = Temperatures(objective.terms)
        self._chunks = encoder.chunks
        self.objective, self.dense = objective, dense
        self._labels = [term.label for term in objective.terms]
        self._budget, self._caches = micro_batch_tokens, gradient_cache

    def forward(
        self, batch: PairBatch, progress: float, trunk: nn.Module, clock: Stopwatch | None = None
    ) -> StepOutput:
        """The loss of a rank's part of a batch.

        Args:
            batch: the pairs.
            progress: share of the run that is done, by which temperatures move.
            trunk: the encoder, or what DDP made of it.
            clock: is told the phases encode, loss and gather.

        Cross-rank contract: that of `contrastive_loss`; regularisers see the gathered batch on every rank, or take their `mean`
        over all, so their gradient, summed over ranks by `gather` and averaged by DDP, is that of one process.
        """
        clock = clock or Stopwatch()
        clock.to("encode")
        embeddings_MD = self.embed(batch.inputs, trunk)
        queries_BD, documents_BD, hard_negatives_NBD = batch.by_role(embeddings_MD)
        clock.to("loss")
        temperatures_T, gathered = self.temperatures(progress), gather_seconds()
        terms = self.objective.terms
        loss = contrastive_loss(
            queries_BD, documents_BD, terms,
            temperatures_T=temperatures_T,
            hard_negatives_NBD=hard_negatives_NBD,
            has_negative_NB=batch.has_negative_NB,
            ids=batch.ids,
            margin=self.objective.margin,
            guide=batch.guide,
            direction=self.objective.direction,
            hardness=self.objective.hardness,
            rows=batch.sources_B is not None and not self.dense,
            dense=self.dense,
        )  # fmt: skip
        seen = EmbeddedBatch(
            queries_BD=queries_BD, documents_BD=documents_BD, hard_negatives_NBD=hard_negatives_NBD,
            scores_KB=batch.scores_KB, gather=gather,
        )  # fmt: skip
        total, regularised = self._regularised(loss.objective, seen)
        clock.credit("gather", gather_seconds() - gathered)
        by_source = {}
        if loss.rows_B is not None and batch.sources_B is not None:
            by_source = {"row_losses": loss.rows_B, "row_sources": batch.sources_B}
        return StepOutput(
            loss=total,
            means={
                **{
                    f"loss/{label}": value
                    for label, value in zip(self._labels, loss.terms_T.unbind(), strict=True)
                },
                **regularised,
                **self._signs(embeddings_MD.detach()),
                **{
                    f"temperature/{self._labels[t]}": temperatures_T[t].detach()
                    for t in self.temperatures.moving
                },
            },
            sums={"masked_negatives": loss.num_masked},
            observed={
                "embeddings": embeddings_MD,
                "queries": queries_BD,
                "documents": documents_BD,
                "losses": torch.cat([loss.terms_T, *(value.reshape(1) for value in regularised.values())]),
                **by_source,
            },
        )

    def embed(self, inputs: Sequence[Inputs], trunk: nn.Module) -> Float[Tensor, "M D"]:
        """Embeddings of a batch's inputs in their order, in one call to the trunk, or, cached, one for each group.

        A tower's rows go in chunks of like length. With a gradient cache the last group has a chunk of each tower, so that the
        call in which DDP reduces reaches all parameters.
        """
        groups, last, start = list[tuple[Inputs, np.ndarray]](), list[tuple[Inputs, np.ndarray]](), 0
        for each in inputs:
            chunks = self._chunks(each, self._budget, split=self._caches)
            whole = len(chunks) == 1 and _in_order(chunks[0])
            parts = [each] if whole else [each.select(rows) for rows in chunks]
            *before, end = [(part, rows + start) for part, rows in zip(parts, chunks, strict=True)]
            groups += before
            last.append(end)
            start += len(each)
        order = np.concatenate([rows for _, rows in (*groups, *last)])
        if self._caches:
            parts_of_groups = [*([part] for part, _ in groups), [part for part, _ in last]]
            embeddings_MD = cached_forward(trunk, parts_of_groups)
        else:
            embeddings_MD = trunk([part for part, _ in (*groups, *last)])
        if _in_order(order):
            return embeddings_MD
        return embeddings_MD[torch.from_numpy(np.argsort(order)).to(embeddings_MD.device)]

    def _signs(self, embeddings_MD: Tensor) -> dict[str, Tensor]:
        """What becomes of the signs' gradient, where terms have them."""
        terms = self.objective.terms
        if not any(term.view in ("sign", "bits") for term in terms):
            return {}
        found = clip_measures(embeddings_MD, max(term.dim for term in terms))
        return {f"signs/{name}": value for name, value in found.items()}

    def _regularised(self, loss: Tensor, batch: EmbeddedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss with the regularisers, and the value of each."""
        values = {}
        for each in self.objective.regularisers:
            value = each(batch)
            values[f"regulariser/{each.name}"] = value.detach()
            loss = loss + each.weight * value
        return loss, values


def _in_order(rows: np.ndarray) -> bool:
    return bool((rows == np.arange(len(rows))).all())
