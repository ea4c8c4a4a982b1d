"""A cross-encoder's scores on disk, by content: what was judged before an interrupt, or under other margins, is not judged again."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tempembed.encoders.cross_encoder import Judge
from tempembed.system.atomic import appearing
from tempembed.system.console import Progress

PART_PAIRS = 1024
"""Pairs of a file."""


def kept_scores(
    judge: Judge, root: Path, pairs: Sequence[tuple[str, str]], say: Callable[[str], None]
) -> np.ndarray:
    """Scores of pairs of texts, a part of them at a time; each part is a file that appears whole."""
    found, progress = [np.empty(0, np.float32)], Progress("judged", "pairs of this block", len(pairs), say)
    for low in range(0, len(pairs), PART_PAIRS):
        part = pairs[low : low + PART_PAIRS]
        name = hashlib.sha256(json.dumps(part).encode()).hexdigest()[:32]
        path = root / judge.fingerprint / f"{name}.npy"
        if (scores := _read(path, len(part))) is None:
            scores = judge.score(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            with appearing(path) as partial:
                np.save(partial, scores)
        found.append(scores)
        progress.add(len(part))
    return np.concatenate(found)


def _read(path: Path, num: int) -> np.ndarray | None:
    """The scores of a part, if its file is there and whole."""
    try:
        scores = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return scores if scores.dtype == np.float32 and scores.shape == (num,) else None
