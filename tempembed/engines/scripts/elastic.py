"""Load the vectors into Elasticsearch (8.16 or newer) or OpenSearch (2.17 or newer): python load.py [--target http://127.0.0.1:9200].

index.json is the mapping. A key goes into the environment: SEARCH_API_KEY.
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from shards import HERE, Settings, batches, main, packed

TARGET = "http://127.0.0.1:9200"
LEAST = {"elasticsearch": (8, 16), "opensearch": (2, 17)}
BATCH = 500


def load(settings: Settings, target: str) -> None:
    """Fill a new index, in bulk."""
    least, found = LEAST[settings["engine"]], _ask("GET", target)["version"]["number"]
    if tuple(map(int, found.split(".")[:2])) < least:
        raise RuntimeError(f"it has version {found}, and the mapping needs {least[0]}.{least[1]}")
    index = f"{target}/{settings['name']}"
    _ask("DELETE", f"{index}?ignore_unavailable=true")
    _ask("PUT", index, (HERE / "index.json").read_text())
    for ids, codes in batches(settings):
        for low in range(0, len(ids), BATCH):
            lines = []
            for each, row in zip(ids[low : low + BATCH], codes[low : low + BATCH], strict=True):
                lines += [json.dumps({"index": {"_id": each}}), json.dumps({"code": _vector(settings, row)})]
            answer = _ask("POST", f"{index}/_bulk", "\n".join(lines) + "\n")
            if answer["errors"]:
                first = next(each["index"]["error"] for each in answer["items"] if "error" in each["index"])
                raise RuntimeError(f"it refused a document ({first})")
    _ask("POST", f"{index}/_refresh")


def search(settings: Settings, target: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids of the k nearest documents of each query, best first, by the codes alone: nothing is scored again."""
    found = []
    for row in packed(queries) if settings["storage"] == "binary" else queries:
        vector = _vector(settings, row)
        body: dict[str, Any] = {"size": k, "_source": False}
        if settings["engine"] == "elasticsearch":
            body["knn"] = {"field": "code", "query_vector": vector, "k": k, "num_candidates": max(k, 100)}
        else:
            body["query"] = {"knn": {"code": {"vector": vector, "k": k}}}
        hits = _ask("POST", f"{target}/{settings['name']}/_search", json.dumps(body))["hits"]["hits"]
        found.append([hit["_id"] for hit in hits])
    return found


def _vector(settings: Settings, row: np.ndarray) -> Any:
    """As JSON: bits in hex, or as signed bytes."""
    if settings["storage"] != "binary":
        return row.astype(float).tolist()
    return row.tobytes().hex() if settings["engine"] == "elasticsearch" else row.view(np.int8).tolist()


def _ask(method: str, url: str, body: str | None = None) -> Any:
    headers = {"Content-Type": "application/x-ndjson" if url.endswith("_bulk") else "application/json"}
    if key := os.environ.get("SEARCH_API_KEY"):
        headers["Authorization"] = f"ApiKey {key}"
    request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(
            f"{error.code} for {method} {url}: {error.read(500).decode(errors='replace')}"
        ) from error


if __name__ == "__main__":
    main(load, TARGET, __doc__)
