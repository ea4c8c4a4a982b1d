"""Load the codes into a faiss index that searches all of them: python load.py [--target index.faiss]."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from shards import Settings, all_ids, batches, main, packed

TARGET = "index.faiss"
SAMPLE = 100_000


def load(settings: Settings, target: str) -> None:
    """Write the index; rows are in the order of the shards."""
    index = _index(settings)
    if not index.is_trained:
        index.train(_sample(settings))
    for _, codes in batches(settings):
        rows = codes if settings["storage"] == "binary" else np.asarray(codes, np.float32)
        index.add(np.ascontiguousarray(rows))
    write = faiss.write_index_binary if settings["storage"] == "binary" else faiss.write_index
    partial = Path(target).with_suffix(".partial")
    write(index, str(partial))
    partial.rename(target)


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first."""
    ids = all_ids(settings)
    if settings["storage"] == "binary":
        _, rows = faiss.read_index_binary(target).search(packed(queries), k)
    else:
        _, rows = faiss.read_index(target).search(np.ascontiguousarray(queries, np.float32), k)
    return [[ids[row] for row in each if row >= 0] for each in rows]


def _sample(settings: Settings) -> np.ndarray:
    """Rows of all shards, evenly spread, that ranges and centres are learned from."""
    every = -(-settings["num_rows"] // SAMPLE)
    parts = [
        np.load(path, mmap_mode="r")[::every] for path in sorted(Path(settings["shards"]).glob("*.code.npy"))
    ]
    return np.concatenate(parts).astype(np.float32)


def _index(settings: Settings) -> Any:
    width, inner_product = settings["width"], faiss.METRIC_INNER_PRODUCT
    match settings["storage"]:
        case "float32":
            return faiss.IndexFlatIP(width)
        case "float16":
            return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, inner_product)
        case "sq8":
            return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, inner_product)
        case "rabitq":
            rotation = faiss.RandomRotationMatrix(width, width)
            rotation.init(0)
            bits = faiss.IndexRaBitQ(width, inner_product, settings["argument"])
            bits.qb = 0  # float queries
            return faiss.IndexPreTransform(rotation, bits)
        case "binary":
            return faiss.IndexBinaryFlat(8 * settings["bytes"])
    raise ValueError(settings["storage"])


if __name__ == "__main__":
    main(load, TARGET, __doc__)
