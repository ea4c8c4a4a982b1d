"""All texts that the data pairs a text with: the answers of a query, the queries of a document."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tempembed.data.kept_rows import repeated


@dataclass(frozen=True, kw_only=True)
class Partners:
    """Texts with several partners, by their ids; those of text i are `partners[offsets[i]:offsets[i + 1]]`.

    A text with one partner is left out: its own row names the partner.
    """

    texts: np.ndarray
    """int64 [T], ascending."""
    offsets: np.ndarray
    """int64 [T + 1]."""
    partners: np.ndarray
    """int64 [P], each once for a text."""

    def __len__(self) -> int:
        return len(self.texts)

    @staticmethod
    def of(texts: np.ndarray, partners: np.ndarray) -> "Partners":
        """Build it from the ids of pairs, int64 [rows] each; needs 10 bytes a row meanwhile, and 60 more of each text with several."""
        several = repeated(texts)
        texts, partners = texts[several], partners[several]
        order = np.lexsort((partners, texts))
        texts, partners = texts[order], partners[order]
        is_new = np.append(True, (texts[1:] != texts[:-1]) | (partners[1:] != partners[:-1]))[: len(texts)]
        texts, partners = texts[is_new], partners[is_new]
        starts = np.flatnonzero(np.append(True, texts[1:] != texts[:-1])[: len(texts)])
        counts = np.diff(starts, append=len(texts))
        several = counts > 1
        return Partners(
            texts=texts[starts[several]],
            offsets=np.append(0, np.cumsum(counts[several])),
            partners=partners[np.repeat(several, counts)],
        )

    def lookup(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(place in `texts`, id of a partner) for every known partner, int64 [F] each."""
        if not len(self):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.texts, texts), len(self) - 1)
        places = np.flatnonzero(self.texts[at] == texts)
        starts = self.offsets[at[places]]
        counts = self.offsets[at[places] + 1] - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), self.partners[np.repeat(starts, counts) + within]

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.texts.npy`, `<name>.offsets.npy` and `<name>.partners.npy`."""
        for field in fields(self):
            np.save(folder / f"{name}.{field.name}.npy", getattr(self, field.name))

    @staticmethod
    def load(folder: Path, name: str) -> "Partners":
        """Memory-map what `save` wrote."""
        arrays = {field.name: folder / f"{name}.{field.name}.npy" for field in fields(Partners)}
        return Partners(**{key: np.load(path, mmap_mode="r") for key, path in arrays.items()})
