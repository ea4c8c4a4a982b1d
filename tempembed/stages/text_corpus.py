"""A corpus of raw text: its documents, what repeats in it, and a tokenizer that is trained on it."""

import json
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tempembed.data.bad_rows import Faults
from tempembed.data.raw_text import Part, TextReading, part_texts
from tempembed.data.repeats import HashFiles, Repeats, batch_hashes, find_repeats
from tempembed.data.text_batches import clean_batch
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.settings.text import TextSettings
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.in_order import Pool, in_order

BATCH_CHARACTERS, BATCH_DOCUMENTS = 2**20, 512
"""A batch has one document, or as many as are within both."""
CHARACTERS = 900
"""Characters of a tokenizer's alphabet, the most frequent ones: which of the rare ones tokenizers would keep differs by process."""
EVERY = 5.0
"""Seconds between lines of progress."""
Document = tuple[int, str]
"""Number in the corpus, and text."""


@dataclass(frozen=True, kw_only=True)
class TextCorpus:
    """Parts that are read in order, and a folder for what is learnt of them."""

    parts: list[Part]
    settings: TextSettings
    work: Path
    over: int | Pool
    """What reads and cleans: processes of this machine, or a pool."""
    say: Callable[[str], None]

    def documents(self, counts: Counter[str], faults: Faults, sizes: list[int]) -> Iterator[Document]:
        """All documents, numbered from 0; notes how many each part has."""
        reading, number = TextReading(column=self.settings.column, faults=faults, counts=counts), 0
        for part in self.parts:
            before = number
            for text in part_texts(part, reading):
                yield number, text
                number += 1
            sizes.append(number - before)

    def scan(self) -> dict[str, Any]:
        """Find what repeats, once; what was met: documents, characters, and counts by reason.

        Raises:
            UserError: a bad file or row, or no text at all.
        """
        if not (note := self.work / "corpus.json").exists():
            write_json(note, self._scan())
        found: dict[str, Any] = json.loads(note.read_text())
        return found

    def _scan(self) -> dict[str, Any]:
        counts, faults = Counter[str](), Faults(skip=self.settings.skip_bad_rows)
        keys, characters, num, said = [np.empty(0, np.uint64)], 0, 0, time.monotonic()
        sizes: list[int] = []
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.work, prefix="hashes-")))
            files = [stack.enter_context(HashFiles(place / name)) for name in ("documents", "lines")]
            found = in_order(_numbered_hashes, batches(self.documents(counts, faults, sizes)), self.over)
            for batch, (own, lines, owners) in found:
                files[0].add(own, np.arange(num, num + len(own)))
                files[1].add(lines, num + owners)
                keys.append(own)
                num += len(own)
                characters += sum(len(text) for _, text in batch)
                if time.monotonic() - said > EVERY:
                    said = time.monotonic()
                    self.say(f"read {num:,} documents, {characters / 1e6:,.0f} M characters")
            if not num:
                skipped = (
                    f", {faults.reasons.total()} bad rows or files, the first: {faults.first}"
                    if faults.first
                    else ""
                )
                raise UserError(
                    f"--text: expected text, got none in {len(self.parts)} files{skipped}; check the source"
                )
            repeats = find_repeats(np.concatenate(keys), *files)
        np.save(self.work / "sizes.npy", np.array(sizes, np.int64))
        repeats.save(self.work)
        return {
            "documents": num, "characters": characters, "equal": int(repeats.equal.sum()), "lines": len(repeats.lines),
            "read": dict(counts), "bad": dict(faults.reasons), "first": faults.first,
        }  # fmt: skip

    def chosen(self, share: float) -> np.ndarray:
        """bool, for each document whether it is read: no equal one came before, and its hash is among the lowest."""
        repeats = Repeats.load(self.work)
        return ~repeats.equal & (repeats.keys <= np.uint64(min(1.0, share) * (2**64 - 2**12)))

    def batches(self, chosen: np.ndarray, first: int = 0) -> Iterator[list[Document]]:
        """Documents that are chosen, from one on; only parts that have such are read.

        Raises:
            UserError: a part has more documents than before.
        """
        return batches(self._wanted(chosen & (np.arange(len(chosen)) >= first)))

    def _wanted(self, wanted: np.ndarray) -> Iterator[Document]:
        start = 0
        faults = Faults(skip=self.settings.skip_bad_rows)
        reading = TextReading(column=self.settings.column, faults=faults, counts=Counter())
        for part, size in zip(self.parts, np.load(self.work / "sizes.npy").tolist(), strict=True):
            own = wanted[start : start + size]
            for offset, text in enumerate(part_texts(part, reading)) if own.any() else ():
                if offset >= size:
                    raise UserError(
                        f"--text {part.place}: it grew while it was read; give the same command again"
                    )
                if own[offset]:
                    yield start + offset, text
            start += size

    def sample(self, characters: int) -> list[str]:
        """Cleaned documents of about so many characters, drawn by a hash of their content."""
        scan = self.scan()
        chosen = self.chosen(characters / scan["characters"])
        if not chosen.any():
            chosen[0] = True
        clean = partial(clean_batch, folder=self.work)
        found = in_order(clean, self.batches(chosen), self.over)
        return [text for _, (texts, _, _) in found for text in texts if text.strip()]


def batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """The documents in batches, by size and number alone: the same on any number of processes."""
    batch, characters = list[Document](), 0
    for document in documents:
        if batch and (characters + len(document[1]) > BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS):
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += len(document[1])
    if batch:
        yield batch


def _numbered_hashes(batch: list[Document]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch_hashes([text for _, text in batch])


def trained_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of these texts, the same in every process."""
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    plain = {each: unicodedata.normalize("NFKC", each).lower() for each in counts}
    total = Counter[str]()
    for each, count in counts.items():
        for own in plain[each]:
            total[own] += count
    kept = set(sorted(total, key=lambda own: (-total[own], own))[:CHARACTERS])
    rare = {ord(each): " " for each in counts if not kept.issuperset(plain[each])}
    return train_tokenizer((text.translate(rare) for text in texts), vocabulary)
