"""Tokens of many documents in files that are memory-mapped, so that a corpus may be larger than memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tempembed.inputs.tokens import Tokens
from tempembed.system.atomic import write_json
from tempembed.system.checksums import MANIFEST, checksums
from tempembed.system.untrusted import read_json

SMALL = 2**16
"""Vocabularies up to this have ids of two bytes."""


@dataclass(frozen=True, kw_only=True)
class TokenShards:
    """A folder of shards: `00000.ids.npy` and `00000.offsets.npy` each, a tokenizer's files, and a manifest with checksums.

    A document has no special tokens: whoever packs it adds them. Ids are uint16 where the vocabulary fits, else uint32.
    """

    folder: Path
    meta: dict[str, Any]
    """The manifest: vocabulary, num_documents, num_tokens, shards (documents of each), fingerprint, and what else was noted."""

    @staticmethod
    def open(folder: Path) -> "TokenShards":
        """What is there.

        Raises:
            UserError: no manifest, or one that cannot be read.
        """
        return TokenShards(folder=folder, meta=read_json(folder / MANIFEST))

    def __len__(self) -> int:
        return int(self.meta["num_documents"])

    @property
    def vocabulary(self) -> int:
        """Ids are below it."""
        return int(self.meta["vocabulary"])

    @property
    def fingerprint(self) -> str:
        """Of the content: texts, tokenizer, what was cut out."""
        return str(self.meta["fingerprint"])

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64, tokens of each document."""
        return np.concatenate([np.empty(0, np.int64), *(np.diff(offsets) for _, offsets in self._shards)])

    def spans(self, documents: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Tokens:
        """Parts of documents, as texts in this order.

        Args:
            documents: row of each, from 0 over all shards.
            starts: the first token of each part.
            lengths: tokens of each part.
        """
        ids = np.empty(int(lengths.sum()), np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        which = np.searchsorted(self._ends, documents, side="right")
        for i, (shard, document, start) in enumerate(zip(which, documents, starts, strict=True)):
            stored, at = self._shards[shard]
            first = int(at[document - self._ends[shard] + len(at) - 1]) + int(start)
            ids[offsets[i] : offsets[i + 1]] = stored[first : first + int(lengths[i])]
        return Tokens(ids=ids, offsets=offsets)

    @cached_property
    def _shards(self) -> list[tuple[np.ndarray, np.ndarray]]:
        names = [f"{number:05d}" for number in range(len(self.meta["shards"]))]
        return [
            (
                np.load(self.folder / f"{name}.ids.npy", mmap_mode="r"),
                np.load(self.folder / f"{name}.offsets.npy", mmap_mode="r"),
            )
            for name in names
        ]

    @cached_property
    def _ends(self) -> np.ndarray:
        """Documents up to the end of each shard."""
        return np.cumsum([len(offsets) - 1 for _, offsets in self._shards])


def write_shard(folder: Path, number: int, documents: Iterable[np.ndarray], vocabulary: int) -> int:
    """Write one shard; how many documents it has."""
    parts = list(documents)
    dtype = np.uint16 if vocabulary <= SMALL else np.uint32
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    ids = np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)
    np.save(folder / f"{number:05d}.ids.npy", ids)
    np.save(folder / f"{number:05d}.offsets.npy", offsets)
    return len(parts)


def write_manifest(folder: Path, *, vocabulary: int, fingerprint: str, **notes: Any) -> None:
    """Make a folder of shards complete: count them and note their checksums, the tokenizer's too."""
    offsets = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.offsets.npy"))]
    write_json(
        folder / MANIFEST,
        {
            "vocabulary": vocabulary,
            "fingerprint": fingerprint,
            "shards": [len(each) - 1 for each in offsets],
            "num_documents": sum(len(each) - 1 for each in offsets),
            "num_tokens": sum(int(each[-1]) for each in offsets),
            **notes,
            "sha256": checksums(folder, sorted({path.name for path in folder.iterdir()} - {MANIFEST})),
        },
    )
