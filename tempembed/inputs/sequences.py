"""Packed sequences as arrays, and the parts of them that go through a model together."""

from dataclasses import dataclass

import numpy as np

from tempembed.inputs.packing import Packing, cut
from tempembed.inputs.token_shards import TokenShards
from tempembed.inputs.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences of one length with the borders of the texts in them."""

    ids_RT: np.ndarray
    """int64, the padding token where nothing is: at the end."""
    texts: np.ndarray
    """int64, positions of each text, special tokens counted, in order."""
    counts: np.ndarray
    """int64, texts of each sequence."""

    def filled(self) -> np.ndarray:
        """Where something is, bool [R, T]."""
        ends = np.cumsum(self.counts)
        total = np.append(0, np.cumsum(self.texts))
        used_R = total[ends] - total[ends - self.counts]
        return np.arange(self.ids_RT.shape[1]) < used_R[:, None]

    def shorter(self, most: int) -> "Sequences":
        """The same tokens in texts of at most so many: a text is two, where it is longer."""
        each, starts = cut(self.texts, most)
        texts = np.minimum(most, self.texts[each] - starts)
        parts = np.append(0, np.cumsum(-(-self.texts // most)))
        ends = np.cumsum(self.counts)
        counts = parts[ends] - parts[ends - self.counts]
        return Sequences(ids_RT=self.ids_RT, texts=texts, counts=counts)


@dataclass(frozen=True, kw_only=True)
class MaskedTexts:
    """Texts that go through a model together, and what is to be predicted."""

    tokens: Tokens
    """With masks."""
    places: np.ndarray
    """int64, where in `tokens.ids` a token is to be predicted."""
    targets: np.ndarray
    """int64, which."""
    per_row: np.ndarray
    """int64, texts of each sequence where they are in the order of sequences, else ()."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Tokens of documents with the special ones around them."""

    shards: TokenShards
    before: tuple[int, ...]
    after: tuple[int, ...]
    padding: int

    def sequences(self, packing: Packing, rows: np.ndarray) -> Sequences:
        """The sequences of these rows."""
        pieces, counts = packing.pieces(rows)
        lengths = packing.lengths[pieces]
        tokens = self.shards.spans(packing.documents[pieces], packing.starts[pieces], lengths)
        texts = lengths + packing.special
        total = np.append(0, np.cumsum(texts))
        ends = np.cumsum(counts)
        row_starts = np.repeat(total[ends - counts], counts)
        begins = np.repeat(np.arange(len(rows)), counts) * packing.length + total[:-1] - row_starts
        flat = np.full(len(rows) * packing.length, self.padding, np.int64)
        flat[begins[:, None] + np.arange(len(self.before))] = self.before
        flat[(begins + texts)[:, None] - len(self.after) + np.arange(len(self.after))] = self.after
        places = np.repeat(begins + len(self.before) - tokens.offsets[:-1], lengths)
        flat[places + np.arange(len(tokens.ids))] = tokens.ids
        return Sequences(ids_RT=flat.reshape(len(rows), -1), texts=texts, counts=counts)


def masked_texts(
    sequences: Sequences, masked_RT: np.ndarray, chosen_RT: np.ndarray, *, by_length: bool
) -> MaskedTexts:
    """What a model takes of sequences and their masks.

    Args:
        sequences: before masks.
        masked_RT: their ids with masks.
        chosen_RT: bool, where a token is to be predicted.
        by_length: texts of one length stand together, longest first, whatever sequence they are of.
    """
    filled_RT = sequences.filled()
    ids, targets, chosen = (each[filled_RT] for each in (masked_RT, sequences.ids_RT, chosen_RT))
    offsets = np.append(0, np.cumsum(sequences.texts))
    tokens = Tokens(ids=ids.astype(np.int32), offsets=offsets)
    if by_length:
        order = np.argsort(-sequences.texts, kind="stable")
        new = np.append(0, np.cumsum(sequences.texts[order]))
        places = np.repeat(offsets[order] - new[:-1], sequences.texts[order]) + np.arange(new[-1])
        tokens = Tokens(ids=tokens.ids[places], offsets=new)
        targets, chosen = targets[places], chosen[places]
    at = np.flatnonzero(chosen)
    per_row = np.empty(0, np.int64) if by_length else sequences.counts
    return MaskedTexts(tokens=tokens, places=at, targets=targets[at], per_row=per_row)
