"""Load the vectors into Qdrant: python load.py [--target http://127.0.0.1:6333]. A folder as target is Qdrant's local mode."""

import numpy as np
from qdrant_client import QdrantClient, models
from shards import Settings, batches, main

TARGET = "http://127.0.0.1:6333"
BATCH = 1000


def load(settings: Settings, target: str) -> None:
    """Fill a new collection; Qdrant's own ids are rows in the order of the shards, yours are in the payload."""
    client, name, start = _client(target), settings["name"], 0
    if client.collection_exists(name):
        client.delete_collection(name)
    half = settings["storage"] == "float16"
    kind = models.Datatype.FLOAT16 if half else models.Datatype.FLOAT32
    params = models.VectorParams(size=settings["width"], distance=models.Distance.DOT, datatype=kind)
    client.create_collection(name, vectors_config=params, quantization_config=_quantisation(settings))
    for ids, codes in batches(settings):
        for low in range(0, len(ids), BATCH):
            some = ids[low : low + BATCH]
            batch = models.Batch(
                ids=list(range(start, start + len(some))), vectors=np.asarray(codes[low : low + BATCH], np.float32).tolist(),
                payloads=[{"id": each} for each in some],
            )  # fmt: skip
            client.upsert(name, batch)
            start += len(some)
    client.close()


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first, by the codes alone: no vector is read again."""
    client, found = _client(target), []
    codes_alone = models.QuantizationSearchParams(rescore=False)
    how = models.SearchParams(exact=True, quantization=codes_alone) if "://" in target else None
    for row in queries.astype(np.float32).tolist():
        points = client.query_points(settings["name"], query=row, limit=k, search_params=how).points
        found.append([point.payload["id"] for point in points if point.payload])
    client.close()
    return found


def _client(target: str) -> QdrantClient:
    return (
        QdrantClient(url=target, check_compatibility=False) if "://" in target else QdrantClient(path=target)
    )


def _quantisation(settings: Settings) -> models.QuantizationConfig | None:
    if settings["storage"] == "qdrant8":
        int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=int8)
    if settings["storage"] == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


if __name__ == "__main__":
    main(load, TARGET, __doc__)
