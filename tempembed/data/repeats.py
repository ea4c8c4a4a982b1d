"""Documents that are equal and lines that repeat, found by hashes on the disk: exact, and in little memory at any size."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LINE_CHARACTERS = 40
"""Shorter lines may repeat: `return self` is no boilerplate."""
LINE_DOCUMENTS = 10
"""A line that is in so many documents repeats: it stays in the first of them."""
PARTITIONS = 64
METHOD = (
    f"exact: of equal documents the first stays; a line of at least {LINE_CHARACTERS} characters that is in at least {LINE_DOCUMENTS} "
    "documents stays in the first of them"
)


def text_hash(text: str) -> bytes:
    """8 bytes of a text, white space at its ends left out."""
    return hashlib.blake2b(text.strip().encode(), digest_size=8).digest()


def hashes(texts: Iterable[str]) -> np.ndarray:
    """uint64 of each text."""
    return np.frombuffer(b"".join(map(text_hash, texts)), np.uint64)


def line_hashes(text: str) -> np.ndarray:
    """uint64 of each line that is long enough to count, each once."""
    return hashes({line.strip() for line in text.split("\n") if len(line.strip()) >= LINE_CHARACTERS})


def batch_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hash of each text; hashes of their lines; for each of these the number of its text)."""
    lines = [line_hashes(text) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(each) for each in lines])
    return hashes(texts), np.concatenate([np.empty(0, np.uint64), *lines]), owners


class HashFiles:
    """(hash, document) rows, appended to files by the hash, so that each is small enough to be sorted in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._files = [
            (folder / f"{number:03d}").open("w+b", buffering=2**18) for number in range(PARTITIONS)
        ]

    def add(self, keys: np.ndarray, documents: np.ndarray) -> None:
        """Add rows; documents have to come in their order."""
        rows = np.stack([keys, documents.astype(np.uint64)], axis=1)
        partition = (keys >> np.uint64(64 - PARTITIONS.bit_length() + 1)).astype(np.int64)
        rows = rows[np.argsort(partition, kind="stable")]
        ends = np.cumsum(np.bincount(partition, minlength=PARTITIONS))
        for number, part in enumerate(np.split(rows, ends[:-1])):
            if len(part):
                self._files[number].write(part.tobytes())

    def repeated(self, times: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Rows whose hash is in at least so many, sorted: (hash, document) arrays, a partition each."""
        for file in self._files:
            file.flush()
            rows = np.fromfile(Path(file.name), np.uint64).reshape(-1, 2)
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
            _, counts = np.unique(rows[:, 0], return_counts=True)
            kept = rows[np.repeat(counts >= times, counts)]
            yield kept[:, 0], kept[:, 1].astype(np.int64)

    def __enter__(self) -> "HashFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What repeats in a corpus."""

    keys: np.ndarray
    """uint64, a hash for each document."""
    equal: np.ndarray
    """bool, for each document whether an earlier one is equal."""
    lines: np.ndarray
    """uint64, hashes of the lines that repeat, sorted."""
    first: np.ndarray
    """int64, the document in which each of these lines stays."""

    def save(self, folder: Path) -> None:
        """Write them."""
        for name in ("keys", "equal", "lines", "first"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @staticmethod
    def load(folder: Path) -> "Repeats":
        """Map them into memory."""
        names = ("keys", "equal", "lines", "first")
        return Repeats(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})

    def without_lines(self, texts: Sequence[str], documents: Sequence[int]) -> tuple[list[str], int]:
        """(the texts without the lines that repeat, how many lines that took away)."""
        if not len(self.lines):
            return list(texts), 0
        kept, removed = [], 0
        for text, document in zip(texts, documents, strict=True):
            lines = text.split("\n")
            long = [i for i, line in enumerate(lines) if len(line.strip()) >= LINE_CHARACTERS]
            keys = hashes(lines[i] for i in long)
            places = np.minimum(np.searchsorted(self.lines, keys), len(self.lines) - 1)
            gone = (self.lines[places] == keys) & (self.first[places] != document)
            if gone.any():
                dropped = {long[i] for i in np.flatnonzero(gone)}
                text = "\n".join(line for i, line in enumerate(lines) if i not in dropped)
                removed += len(dropped)
            kept.append(text)
        return kept, removed


def find_repeats(keys: np.ndarray, documents: HashFiles, lines: HashFiles) -> Repeats:
    """What repeats among all that was added."""
    equal = np.zeros(len(keys), bool)
    for hashes_, numbers in documents.repeated(2):
        is_first = np.concatenate([[True], hashes_[1:] != hashes_[:-1]])[: len(hashes_)]
        equal[numbers[~is_first]] = True
    found, first = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for hashes_, numbers in lines.repeated(LINE_DOCUMENTS):
        unique, places = np.unique(hashes_, return_index=True)  # rows of a hash are in the documents' order
        found.append(unique)
        first.append(numbers[places])
    return Repeats(keys=keys, equal=equal, lines=np.concatenate(found), first=np.concatenate(first))
