"""A batch of raw documents cleaned and tokenised: a pure function of the documents and a folder, for any process or machine."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tempembed.data.cut_texts import TextCutter
from tempembed.data.repeats import Repeats

TOKENIZER = "tokenizer.json"
CHARACTERS = "characters read"
TESTS = "tests.json"
"""The test texts that are cut out, a list."""


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Tokens of some documents."""

    ids: np.ndarray
    """uint32, of all documents one after the other."""
    lengths: np.ndarray
    """int64 of each document that has tokens left."""
    counts: Counter[str]
    hits: np.ndarray
    """int64, which sequences of test texts were met."""


@cache
def cutter_of(folder: Path) -> TextCutter:
    """What cuts the test texts out, made once in a process."""
    return TextCutter(json.loads((folder / TESTS).read_text()))


@cache
def _repeats_of(folder: Path) -> Repeats:
    return Repeats.load(folder)


@cache
def _tokenizer_of(folder: Path) -> Tokenizer:
    return plain_tokenizer(folder / TOKENIZER)


def plain_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that neither cuts nor pads, and to which the word `[MASK]` is text like any other."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def clean_batch(
    documents: Sequence[tuple[int, str]], folder: Path
) -> tuple[list[str], Counter[str], np.ndarray]:
    """(texts without lines that repeat and without test texts; what was removed; which sequences of test texts were met)."""
    before = [text for _, text in documents]
    texts, lines = _repeats_of(folder).without_lines(before, [number for number, _ in documents])
    kept, hits = cutter_of(folder).cut(texts)
    counts = Counter(
        {
            CHARACTERS: sum(map(len, before)),
            "repeated lines removed": lines,
            "characters of repeated lines removed": sum(map(len, before)) - sum(map(len, texts)),
            "documents with test texts": sum(a != b for a, b in zip(texts, kept, strict=True)),
            "characters of test texts cut out": sum(map(len, texts)) - sum(map(len, kept)),
        }
    )
    return kept, counts, np.flatnonzero(hits)


def token_batch(documents: Sequence[tuple[int, str]], folder: Path) -> TokenBatch:
    """Clean and tokenise documents.

    Args:
        documents: (number in the corpus, text).
        folder: holds what repeats (`Repeats.save`), the test texts and the tokenizer.
    """
    texts, counts, hits = clean_batch(documents, folder)
    encoded = _tokenizer_of(folder).encode_batch_fast(texts, add_special_tokens=False)
    ids = [np.array(each.ids, np.uint32) for each in encoded if len(each.ids)]
    counts["documents left empty"] = len(texts) - len(ids)
    counts["characters tokenised"] = sum(map(len, texts))
    return TokenBatch(
        ids=np.concatenate([np.empty(0, np.uint32), *ids]),
        lengths=np.array([len(each) for each in ids], np.int64),
        counts=counts,
        hits=hits,
    )
