"""Load the codes into a usearch index: python load.py [--target index.usearch]."""

from pathlib import Path

import numpy as np
from shards import Settings, all_ids, batches, main, packed
from usearch.index import Index

TARGET = "index.usearch"
TYPES = {"float32": "f32", "float16": "f16", "binary": "b1"}


def load(settings: Settings, target: str) -> None:
    """Build the graph and write it; keys are rows in the order of the shards."""
    index, start = _index(settings), 0
    for ids, codes in batches(settings):
        index.add(np.arange(start, start + len(ids), dtype=np.uint64), np.ascontiguousarray(codes))
        start += len(ids)
    partial = Path(target).with_suffix(".partial")
    index.save(str(partial))
    partial.rename(target)


def search(
    settings: Settings, target: str, queries: np.ndarray, k: int, *, exact: bool = True
) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first; not `exact`: through the graph."""
    ids, index = all_ids(settings), _index(settings)
    index.load(target)
    rows = packed(queries) if settings["storage"] == "binary" else queries.astype(_numbers(settings))
    found = index.search(rows, k, exact=exact)
    keys = np.atleast_2d(found.keys)
    return [[ids[int(key)] for key in each] for each in keys]


def _index(settings: Settings) -> Index:
    is_bits = settings["storage"] == "binary"
    return Index(
        ndim=8 * settings["bytes"] if is_bits else settings["width"], metric="hamming" if is_bits else "ip",
        dtype=TYPES[settings["storage"]],
    )  # fmt: skip


def _numbers(settings: Settings) -> type:
    return np.float16 if settings["storage"] == "float16" else np.float32


if __name__ == "__main__":
    main(load, TARGET, __doc__)
