"""Cut the texts of test sets out of raw text, whatever its indentation, line breaks and punctuation.

By sequences of words, as GPT-3's training data was cleaned (Brown et al. 2020, appendix C: 13-grams). A test text of fewer than 13 words
is one sequence, one of fewer than 5 is too short to be told from ordinary language. What is cut is cut again until no sequence of a test
text is left, since two halves may meet where something was cut between them.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

LONGEST, SHORTEST = 13, 5
LEAST_BODY = 8
"""Words of a function's body that are cut out without its signature, from which a docstring parts them in the raw text."""
METHOD = (
    f"every sequence of {LONGEST} words of a test text, and every test text of {SHORTEST} to {LONGEST - 1} words; words are compared "
    "case-folded, without white space and punctuation"
)
_WORD = re.compile(r"[^\W_]+")
_SIGNATURE = re.compile(r"\A(?:async )?def .*?:[ \t]*(?:#[^\n]*)?\n", re.DOTALL)
_BITS = 24
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def words(text: str) -> list[str]:
    """Case-folded words of a text, without punctuation: what `split.normalise` keeps.

    >>> words("def get_value(self):  # Straße")
    ['def', 'get', 'value', 'self', 'strasse']
    """
    if text.isascii():
        return _WORD.findall(text.lower())
    return [word.casefold() for word in _WORD.findall(text)]


def _hashed(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(hashes of the words of all texts, a zero after each text; how many words each has). Good in this process only."""
    parts = [[*map(hash, words(text)), 0] for text in texts]
    return (
        np.array([each for part in parts for each in part], np.int64).view(np.uint64),
        np.array([len(part) - 1 for part in parts], np.int64),
    )


def _sequences(hashed: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(length, uint64 of each sequence of so many words by its start), from the shortest to the longest."""
    total = np.ones(len(hashed), np.uint64)
    for length in range(1, min(LONGEST, len(hashed)) + 1):
        total = total[: len(hashed) - length + 1] * _FACTOR + hashed[length - 1 :]
        if length >= SHORTEST:
            yield length, total ^ (total >> np.uint64(31))


class TextCutter:
    """Knows the sequences of some test texts, and cuts them out of others."""

    def __init__(self, texts: Sequence[str]) -> None:
        own, of = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        bodies = [_SIGNATURE.sub("", text, count=1) for text in texts]
        bodies = [body if body != text else "" for body, text in zip(bodies, texts, strict=True)]
        hashed, sizes = _hashed([*texts, *bodies])
        least = np.repeat([SHORTEST, LEAST_BODY], len(texts))
        starts = np.cumsum(sizes + 1) - sizes - 1
        for length, keys in _sequences(hashed):
            wanted = sizes == length if length < LONGEST else sizes >= length
            for text in np.flatnonzero(wanted & (sizes >= least)):
                own.append(keys[starts[text] : starts[text] + sizes[text] - length + 1])
                of.append(np.full(len(own[-1]), text))
        self._keys, self._places = np.unique(np.concatenate(own), return_inverse=True)
        self._owners = np.concatenate(of)
        self._may_be = np.zeros(2**_BITS, bool)
        self._may_be[self._keys & np.uint64(2**_BITS - 1)] = True
        self._num_texts = len(texts)

    @property
    def num_sequences(self) -> int:
        """How many sequences the test texts have, in their order: what hits are numbered by, the same in every process."""
        return len(self._owners)

    def found(self, hits: np.ndarray) -> np.ndarray:
        """bool, for each test text whether it was met: at least half of its sequences were, or of those of its body.

        Args:
            hits: as `cut` gives them, of all that was cut.
        """
        own = np.bincount(self._owners, minlength=2 * self._num_texts)
        met = np.bincount(self._owners, hits, minlength=2 * self._num_texts)
        return np.any(((own > 0) & (2 * met >= own)).reshape(2, -1), axis=0)

    @property
    def too_short(self) -> int:
        """How many test texts have too few words to be cut out."""
        own = np.bincount(self._owners, minlength=2 * self._num_texts)
        return int((own[: self._num_texts] == 0).sum())

    def cut(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """(the texts without what is in the test texts; bool, which sequences were met)."""
        kept, hits = list(texts), np.zeros(len(self._keys), bool)
        left = list(range(len(texts))) if len(self._keys) else []
        while left:
            hashed, sizes = _hashed([kept[i] for i in left])
            marked = self._marked(hashed, hits)
            starts = np.cumsum(sizes + 1) - sizes - 1
            changed = []
            for i, start, size in zip(left, starts, sizes, strict=True):
                if (own := marked[start : start + size]).any():
                    kept[i] = _without(kept[i], own)
                    changed.append(i)
            left = changed
        return kept, hits[self._places]

    def _marked(self, hashed: np.ndarray, hits: np.ndarray) -> np.ndarray:
        """bool, for each word whether it is in a sequence of a test text; notes which were met."""
        change = np.zeros(len(hashed) + 1, np.int64)
        for length, keys in _sequences(hashed):
            likely = np.flatnonzero(self._may_be[keys & np.uint64(2**_BITS - 1)])
            places = np.minimum(np.searchsorted(self._keys, keys[likely]), len(self._keys) - 1)
            met = self._keys[places] == keys[likely]
            hits[places[met]] = True
            change[likely[met]] += 1
            change[likely[met] + length] -= 1
        return np.cumsum(change)[:-1] > 0


def _without(text: str, marked: np.ndarray) -> str:
    """A text without its marked words, and without lines that these leave empty but for punctuation."""
    spans = [match.span() for match in _WORD.finditer(text)]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked, [0]]).astype(np.int8)))
    parts, done = [], 0
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        start, stop = spans[first][0], spans[end - 1][1]
        line = text.rfind("\n", 0, start) + 1
        if first == 0 or spans[first - 1][1] <= line:
            start = line
        line = text.find("\n", stop)
        line = len(text) if line < 0 else line + 1
        if end == len(spans) or spans[end][0] >= line:
            stop = line
        parts.append(text[done : max(done, start)])
        done = max(done, stop)
    return "".join([*parts, text[done:]])
