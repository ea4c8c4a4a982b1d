"""Which tokens are masked: a function of (seed, step, position in the global batch), whoever holds the sequence."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

MaskStyle = Literal["mask", "bert"]
"""mask: each chosen token becomes [MASK] (CodeSage's); bert: 80 % become [MASK], 10 % a random token, 10 % stay."""
MASKS, HELD_OUT = 1, 2
"""What a stream of random words is for; batches have other streams (`inputs.growing`)."""
_WORDS = 2
_KEPT_FROM, _RANDOM_FROM = 0.9, 0.8


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How tokens are masked.

    Of a sequence with n tokens that are not special, exactly `max(1, round(share n))` are chosen (none of none), each set of so many
    as likely as any other. With the style bert the 80, 10 and 10 % are of the chosen ones in expectation.
    """

    share: float
    style: MaskStyle
    mask_id: int
    special_ids: tuple[int, ...]
    """Are never chosen, and never put in at random."""
    vocabulary: int
    """Random tokens are below it."""
    seed: int

    def chosen(
        self, ids_RT: np.ndarray, *, purpose: int, step: int, first: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sequences with masks, and where a token is to be predicted.

        Args:
            ids_RT: neighbouring sequences of the global batch, special tokens where nothing is.
            purpose: MASKS, or HELD_OUT.
            step: of the run, from 0.
            first: position of the first sequence in the global batch.

        Returns:
            Ids in which chosen tokens are replaced, and bool [R, T] of those that are chosen.
        """
        words_RTW = self._words(ids_RT.shape, purpose, step, first)
        is_special_V = np.zeros(max(self.vocabulary, *self.special_ids, 0) + 1, bool)
        is_special_V[list(self.special_ids)] = True
        is_text_RT = ~is_special_V[ids_RT]
        num_R = is_text_RT.sum(1)
        count_R = np.where(num_R > 0, np.maximum(1, np.rint(self.share * num_R)), 0).astype(np.int64)
        keys_RT = np.where(is_text_RT, words_RTW[..., 0] >> np.uint64(1), np.uint64(2**63))
        order_RT = np.argsort(keys_RT, axis=1, kind="stable")
        chosen_RT = np.zeros(ids_RT.shape, bool)
        np.put_along_axis(chosen_RT, order_RT, np.arange(ids_RT.shape[1]) < count_R[:, None], axis=1)
        masked_RT = np.where(chosen_RT, self.mask_id, ids_RT)
        if self.style == "bert":
            ordinary_U = np.flatnonzero(~is_special_V[: self.vocabulary])
            words_N = words_RTW[..., 1][chosen_RT]
            dice_N = (words_N >> np.uint64(32)) / 2**32
            drawn_N = ordinary_U[
                ((words_N & np.uint64(2**32 - 1)) * np.uint64(len(ordinary_U))) >> np.uint64(32)
            ]
            masked_RT[chosen_RT] = np.where(
                dice_N >= _KEPT_FROM,
                ids_RT[chosen_RT],
                np.where(dice_N >= _RANDOM_FROM, drawn_N, self.mask_id),
            )
        return masked_RT, chosen_RT

    def _words(self, shape: tuple[int, int], purpose: int, step: int, first: int) -> np.ndarray:
        """Random words [R, T, 2]: those of a sequence are at a place of their own in the step's stream."""
        rows, length = shape
        blocks = -(-length * _WORDS // 4)  # of the generator, four words each, that a sequence takes
        bits = np.random.Philox(key=[self.seed + (purpose << 40), step])
        bits.advance(first * blocks)
        return (
            bits.random_raw(rows * blocks * 4)
            .reshape(rows, -1)[:, : length * _WORDS]
            .reshape(rows, length, _WORDS)
        )
