"""Documents packed into sequences, which of them a step has, their masks, and what is held out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tempembed.encoders.load_masked_lm import Loaded
from tempembed.inputs.growing import GrowingPlan, steps_for
from tempembed.inputs.masking import HELD_OUT, MASKS, Masking
from tempembed.inputs.packing import Packing, pack
from tempembed.inputs.sequences import MaskedTexts, Source, masked_texts
from tempembed.inputs.token_shards import TokenShards
from tempembed.inputs.tokens import Tokens
from tempembed.settings.pretrain import DEFAULT_TOKENS, PretrainSettings
from tempembed.system.errors import UserError

MOST_HELD_OUT = 20
"""At most one document in so many is held out."""
EVALUATED_SHARE = 0.15
"""Of tokens that are predicted in every evaluation."""
FEWEST_TOKENS = 16
"""Of a held-out document whose halves are searched for each other."""
FIRST_LENGTH = 0.125
"""Of the length, at the start of its warm-up."""
LENGTHS = 8
"""Steps of length: few, so that a kernel meets few shapes."""


@dataclass(frozen=True, kw_only=True)
class Warmups:
    """Steps of each warm-up; a run that is made longer keeps them."""

    learning_rate: int
    batch: int
    length: int

    @staticmethod
    def of(settings: PretrainSettings, num_steps: int, batch: int) -> "Warmups":
        """Shares of a run's steps."""
        rate = settings.optimizer.warmup_steps
        return Warmups(
            learning_rate=max(1, round(settings.optimizer.warmup * num_steps)) if rate is None else rate, batch=batch,
            length=round(settings.task.length_warmup * num_steps),
        )  # fmt: skip


def count_steps(settings: PretrainSettings, positions: float) -> tuple[int, int]:
    """Steps of a run, and those in which batches grow.

    Args:
        settings: of the run.
        positions: text of a sequence, on average.
    """
    if steps := settings.loop.steps:
        return steps, round(settings.task.batch_warmup * steps)
    sequences = (settings.loop.tokens or DEFAULT_TOKENS) / positions
    return steps_for(sequences, settings.batch_sequences, settings.task.batch_warmup)


class MaskedData:
    """What a run trains on.

    Args:
        settings: of the run.
        shards: its documents.
        loaded: model and tokenizer.
        warmups: of the run that this one makes longer; None: its own.

    Raises:
        UserError: fewer sequences than a batch has.
    """

    def __init__(
        self, settings: PretrainSettings, shards: TokenShards, loaded: Loaded, warmups: Warmups | None = None
    ) -> None:
        tokenizer: Any = loaded.tokenizer
        self._settings, task, length = settings, settings.task, settings.model.max_tokens
        special = len(loaded.before) + len(loaded.after)
        if length <= special:
            raise UserError(
                f"--max-tokens: expected more than the {special} special tokens of a text, got {length}"
            )
        lengths, documents = shards.lengths, np.random.Generator(np.random.Philox(key=[HELD_OUT << 40, 0]))
        order = documents.permutation(len(lengths))
        num = min(task.held_out, len(lengths) // MOST_HELD_OUT)
        held_out, trained = np.sort(order[:num]), np.sort(order[num:])
        self.packing = pack(lengths[trained], length, special=special, documents=trained)
        self.source = Source(
            shards=shards, before=loaded.before, after=loaded.after, padding=tokenizer.pad_token_id
        )
        if not len(self.packing):
            raise UserError("--text: expected documents with text, got none")
        self.positions = self.packing.num_positions / len(self.packing)
        """Text of a sequence, on average."""
        self.num_steps, batch_warmup = count_steps(settings, self.positions)
        self.warmups = warmups or Warmups.of(settings, self.num_steps, batch_warmup)
        self.plan = GrowingPlan(
            num_rows=len(self.packing), global_batch_size=settings.batch_sequences, warmup_steps=self.warmups.batch,
            seed=settings.loop.seed,
        )  # fmt: skip
        ids = tuple(sorted({*tokenizer.all_special_ids, tokenizer.pad_token_id}))
        how = {"mask_id": tokenizer.mask_token_id, "special_ids": ids, "vocabulary": shards.vocabulary}
        self._masking = Masking(share=task.mask_share, style=task.mask_style, seed=settings.loop.seed, **how)
        self._evaluated = Masking(share=EVALUATED_SHARE, style="mask", seed=0, **how)
        whole = np.minimum(lengths[held_out], length - special)
        self._held_out = _alone(held_out, np.zeros(num, np.int64), whole, length, special)
        halved, half = held_out[whole >= FEWEST_TOKENS], whole[whole >= FEWEST_TOKENS] // 2
        self._halves = tuple(
            _alone(halved, starts, sizes, length, special)
            for starts, sizes in ((np.zeros_like(half), half), (half, whole[whole >= FEWEST_TOKENS] - half))
        )

    def length(self, step: int) -> int:
        """Most tokens of a text at a step."""
        full, steps = self._settings.model.max_tokens, self.warmups.length
        if step >= steps:
            return full
        share = np.floor(LENGTHS * step / steps) / LENGTHS
        return max(8, round(full * (FIRST_LENGTH + (1 - FIRST_LENGTH) * share)))

    def batch(
        self, step: int, rank: int, world_size: int, budget: int, *, by_length: bool
    ) -> list[MaskedTexts]:
        """This rank's part of a step, in parts of about `budget` tokens."""
        rows = self.plan.rows(step, rank, world_size)
        first, _ = self.plan.part(step, rank, world_size)
        size = max(1, budget // self.packing.length)
        parts = np.array_split(np.arange(len(rows)), -(-len(rows) // size))
        found = []
        for part in parts:
            sequences = self.source.sequences(self.packing, rows[part])
            masks = self._masking.chosen(
                sequences.ids_RT, purpose=MASKS, step=step, first=first + int(part[0])
            )
            if (most := self.length(step)) < self.packing.length:
                sequences = sequences.shorter(most)
            found.append(masked_texts(sequences, *masks, by_length=by_length))
        return found

    def held_out(self, budget: int) -> list[MaskedTexts]:
        """Documents that are not trained on, with the same masks each time."""
        found = []
        for rows in self._chunks(self._held_out, budget):
            sequences = self.source.sequences(self._held_out, rows)
            masks = self._evaluated.chosen(sequences.ids_RT, purpose=HELD_OUT, step=0, first=int(rows[0]))
            found.append(masked_texts(sequences, *masks, by_length=False))
        return found

    def held_out_texts(self, budget: int, which: str = "whole") -> list[Tokens]:
        """These documents without masks, `whole`, or their `first` or `second` half."""
        packing = self._held_out if which == "whole" else self._halves[which == "second"]
        empty = np.empty(0, np.int64)
        found = []
        for rows in self._chunks(packing, budget):
            sequences = self.source.sequences(packing, rows)
            nothing = np.zeros(sequences.ids_RT.shape, bool)
            found.append(masked_texts(sequences, sequences.ids_RT, nothing, by_length=False).tokens)
        return found or [Tokens(ids=empty.astype(np.int32), offsets=np.zeros(1, np.int64))]

    def _chunks(self, packing: Packing, budget: int) -> list[np.ndarray]:
        """Neighbouring rows."""
        if not len(packing):
            return []
        ends = np.cumsum(packing.lengths + packing.special)
        return np.split(np.arange(len(packing)), np.searchsorted(ends, np.arange(budget, ends[-1], budget)))


def _alone(
    documents: np.ndarray, starts: np.ndarray, lengths: np.ndarray, length: int, special: int
) -> Packing:
    """Each piece in a sequence of its own; those without a token are left out."""
    there = lengths > 0
    return Packing(
        length=length, documents=documents[there], starts=starts[there], lengths=lengths[there],
        ends=np.arange(int(there.sum()) + 1), special=special,
    )  # fmt: skip
