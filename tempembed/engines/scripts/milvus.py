"""Load the codes into Milvus: python load.py [--target http://127.0.0.1:19530]. A file, milvus.db, is Milvus Lite."""

import numpy as np
from pymilvus import DataType, MilvusClient
from shards import Settings, batches, main, packed

TARGET = "http://127.0.0.1:19530"
BATCH = 1000
TYPES = {
    "float32": DataType.FLOAT_VECTOR,
    "float16": DataType.FLOAT16_VECTOR,
    "binary": DataType.BINARY_VECTOR,
}


def load(settings: Settings, target: str) -> None:
    """Fill a new collection."""
    client, name, is_bits = MilvusClient(target), settings["name"], settings["storage"] == "binary"
    if client.has_collection(name):
        client.drop_collection(name)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=65_535)
    schema.add_field(
        "code", TYPES[settings["storage"]], dim=8 * settings["bytes"] if is_bits else settings["width"]
    )
    index = client.prepare_index_params()
    index.add_index(
        "code", index_type="BIN_FLAT" if is_bits else "FLAT", metric_type="HAMMING" if is_bits else "IP"
    )
    client.create_collection(name, schema=schema, index_params=index)
    for ids, codes in batches(settings):
        rows = [row.tobytes() for row in codes] if is_bits else list(np.asarray(codes))
        for low in range(0, len(ids), BATCH):
            some = zip(ids[low : low + BATCH], rows[low : low + BATCH], strict=True)
            client.insert(name, [{"id": each, "code": row} for each, row in some])
    client.load_collection(name)
    client.close()


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first."""
    is_bits = settings["storage"] == "binary"
    half = np.float16 if settings["storage"] == "float16" else np.float32
    rows = [row.tobytes() for row in packed(queries)] if is_bits else list(queries.astype(half))
    client = MilvusClient(target)
    client.load_collection(settings["name"])
    how = {"metric_type": "HAMMING" if is_bits else "IP"}
    found = client.search(settings["name"], rows, anns_field="code", limit=k, search_params=how)
    client.close()
    return [[hit["id"] for hit in hits] for hits in found]


if __name__ == "__main__":
    main(load, TARGET, __doc__)
