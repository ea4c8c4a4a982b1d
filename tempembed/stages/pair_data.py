"""The training pairs as prepared inputs and ids, read once; gives a rank its part of a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.inputs import Inputs, by_tower
from tempembed.inputs.mixture import source_shares
from tempembed.inputs.pixels import Pixels
from tempembed.inputs.views import random_views
from tempembed.losses.contrastive import TextIds
from tempembed.losses.margins import Guide
from tempembed.objectives.regularisers.registry import parse_regulariser
from tempembed.settings.model import DEFAULT_AUGMENT
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """A rank's part of a step."""

    inputs: Sequence[Inputs]
    """Queries, then documents, then each column of hard negatives, without those that are absent; joined by tower."""
    present: np.ndarray
    """Bool [N, pairs]: which hard negatives there are."""
    has_negative_NB: Tensor | None = None
    """`present` on the device; None where all rows of the data have all."""
    ids: TextIds | None = None
    """For the masks; None where nothing is to be masked."""
    guide: Guide | None = None
    """The texts as a second model has them, for the masks too."""
    scores_KB: Tensor | None = None
    """A teacher's scores of each pair's document and of its hard negatives, NaN where there is none."""
    sources_B: Tensor | None = None
    """Number of the source of each pair; None where all are of one."""

    def by_role(self, embeddings_MD: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Queries [B, D], documents [B, D] and hard negatives [N, B, D], 0 where absent, from those of `inputs`."""
        num_negatives, batch = self.present.shape
        queries_BD, documents_BD, negatives_MD = embeddings_MD.split(
            [batch, batch, len(embeddings_MD) - 2 * batch]
        )
        if not num_negatives:
            return queries_BD, documents_BD, None
        if len(negatives_MD) == num_negatives * batch:
            return queries_BD, documents_BD, negatives_MD.unflatten(0, (num_negatives, batch))
        places = tuple(torch.from_numpy(place).to(negatives_MD.device) for place in np.nonzero(self.present))
        # out of place, so that a rank without any takes part in the gathers' backward all the same
        empty = negatives_MD.new_zeros(num_negatives, batch, negatives_MD.shape[1])
        return queries_BD, documents_BD, empty.index_put(places, negatives_MD)


class PairData:
    """Columns of inputs, their ids, and which rows a step has.

    Args:
        settings: the run.
        prepared: its data.
        device: takes ids and masks.
    """

    def __init__(self, settings: TrainSettings, prepared: Prepared, device: torch.device) -> None:
        self.columns: list[Inputs] = [prepared.queries, prepared.documents, *prepared.hard_negatives]
        self.num_negatives = len(self.columns) - 2
        has = prepared.has_negative
        self._has_negative = None if has is None or has.all() else has
        self._ids, self._device = prepared.text_ids, device
        self._guide, self._guide_limit = prepared.guide, settings.loss.guide_limit
        taught = any(each.is_taught for each in map(parse_regulariser, settings.loss.regularisers))
        self._scores = prepared.scores if taught else None
        answers, askers = prepared.answers, prepared.askers
        swapped = settings.loss.direction == "document-to-query"
        self._asking, self._partners = ("document", askers) if swapped else ("query", answers)
        # that two rows of a batch without a text twice make a pair of a third asks for a text of several on both sides
        self._always_masks = bool(self.num_negatives or (len(answers) and len(askers)))
        groups = prepared.group_ids
        chosen = settings.model.augment
        self._augment = DEFAULT_AUGMENT if chosen is None else chosen
        self.plan = BatchPlan(
            num_rows=len(self.columns[0]), global_batch_size=settings.batches.batch_size, seed=settings.loop.seed,
            ids=(np.stack([self._ids["query"], self._ids["document"]]), *(() if groups is None else (groups,))),
            sources=prepared.sources, single_source=settings.batches.single_source,
            shares=source_shares(settings.data.weights, prepared.sizes, prepared.groups),
        )  # fmt: skip
        self._sources, self.source_names = prepared.sources, prepared.source_names
        self._repeats = (-1, 0)  # of an epoch

    def batch(self, step: int, rows: np.ndarray) -> PairBatch:
        """The rows of a step, from 0."""
        present = self.present(rows)
        return PairBatch(
            inputs=self.inputs(rows, step),
            present=present,
            has_negative_NB=None
            if self._has_negative is None
            else torch.from_numpy(present).to(self._device),
            ids=self.ids(step, rows),
            guide=self.guide(rows),
            scores_KB=None
            if self._scores is None
            else torch.from_numpy(self._scores[:, rows]).to(self._device),
            sources_B=None
            if self._sources is None
            else torch.from_numpy(self._sources[rows]).long().to(self._device),
        )

    def inputs(self, rows: np.ndarray, step: int = 0) -> list[Inputs]:
        """What goes into the encoder for these rows in a step, joined by tower."""
        present = np.concatenate([np.ones((2, len(rows)), bool), self.present(rows)])
        parts = (self._seen(number, rows[has], step) for number, has in enumerate(present))
        return by_tower(list(parts))

    def _seen(self, number: int, rows: np.ndarray, step: int) -> Inputs:
        """Rows of a column; of pictures a view each."""
        inputs = self.columns[number].select(rows)
        if not isinstance(inputs, Pixels) or not self._augment:
            return inputs
        return inputs.seen(random_views(rows, self._augment, seed=self.plan.seed, step=step, column=number))

    def present(self, rows: np.ndarray) -> np.ndarray:
        """Which hard negatives the rows have, bool [N, rows]."""
        if self._has_negative is None:
            return np.ones((self.num_negatives, len(rows)), bool)
        return self._has_negative[:, rows]

    def ids(self, step: int, rows: np.ndarray) -> TextIds | None:
        """For the masks; None in an epoch whose batches hold nothing to mask."""
        if not (self._always_masks or self.repeats(step)):
            return None
        query, document, *negatives = (
            torch.from_numpy(ids[..., rows]).to(self._device) for ids in self._ids.values()
        )
        places, partners = (
            torch.from_numpy(found).to(self._device)
            for found in self._partners.lookup(self._ids[self._asking][rows])
        )
        return TextIds(
            queries_B=query, documents_B=document, hard_negatives_NB=negatives[0] if negatives else None,
            known=(places, partners),
        )  # fmt: skip

    def guide(self, rows: np.ndarray) -> Guide | None:
        """A second model's embeddings of the rows; None without one."""
        if self._guide is None:
            return None
        query, document, *negatives = (ids[..., rows] for ids in self._ids.values())
        hard = negatives[0] if negatives else None
        return self._guide.of(query, document, hard, self._guide_limit, self._device)

    def repeats(self, step: int) -> int:
        """Rows of the step's epoch that share a text with an earlier row of their batch; counted once an epoch."""
        epoch = step // self.plan.steps_per_epoch
        if self._repeats[0] != epoch:
            self._repeats = epoch, self.plan.repeats(epoch)
        return self._repeats[1]

    def describe(self, step: int, rank: int, row: int, world_size: int) -> str:
        """Which text of the training data a row of a batch's inputs is."""
        rows = self.plan.rows(step, rank, world_size)
        is_there = np.concatenate([np.ones((2, len(rows)), bool), self.present(rows)])
        column, place = (found[row] for found in np.nonzero(is_there))
        name = ("query", "document", *(f"hard negative {k + 1}" for k in range(self.num_negatives)))[column]
        return f"the {name} of pair {rows[place] + 1} of the training data"
