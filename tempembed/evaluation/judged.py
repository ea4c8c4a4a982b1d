"""A cross-encoder's scores on disk, by content: what was judged before an interrupt, or under other margins, is not judged again."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from tempembed.data.numbered_texts import NumberedTexts
from tempembed.encoders.cross_encoder import Judge, load_cross_encoder
from tempembed.system.atomic import appearing
from tempembed.system.errors import UserError

PART_PAIRS = 1024
"""Pairs of a file."""


@dataclass(frozen=True, kw_only=True)
class KeptScores:
    """Scores of pairs of a query and a document by their numbers; can go to another process, which loads the model once."""

    model: str
    fingerprint: str
    """Of the model, which is the same on all machines."""
    folder: Path
    queries: NumberedTexts
    documents: NumberedTexts

    def __call__(
        self, queries: Int[np.ndarray, " P"], documents: Int[np.ndarray, " P"]
    ) -> Float[np.ndarray, " P"]:
        """A part of the pairs at a time; each part is a file that appears whole.

        Raises:
            UserError: the model is another one than the fingerprint's.
        """
        found = [np.empty(0, np.float32)]
        for low in range(0, len(queries), PART_PAIRS):
            part = slice(low, low + PART_PAIRS)
            texts = (
                self.queries.take(queries[part]).to_pylist(),
                self.documents.take(documents[part]).to_pylist(),
            )
            pairs = list(zip(*texts, strict=True))
            name = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:32]
            path = self.folder / self.fingerprint / f"{name}.npy"
            if (scores := _read(path, len(pairs))) is None:
                scores = _loaded(self.model, self.fingerprint).score(pairs)
                path.parent.mkdir(parents=True, exist_ok=True)
                with appearing(path) as partial:
                    np.save(partial, scores)
            found.append(scores)
        return np.concatenate(found)


@lru_cache(maxsize=1)
def _loaded(model: str, fingerprint: str) -> Judge:
    judge = load_cross_encoder(model)
    if judge.fingerprint != fingerprint:
        raise UserError(
            f"--cross-encoder {model}: expected the same on all machines, got another one here; put it where all machines read it"
        )
    return judge


def _read(path: Path, num: int) -> np.ndarray | None:
    """The scores of a part, if its file is there and whole."""
    try:
        scores = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return scores if scores.dtype == np.float32 and scores.shape == (num,) else None
