"""Top-100 of 1,000 queries in 1 M documents: popcount on 1024 bits, faiss on the same, and float32 by blocked BLAS."""

import argparse
import json
import subprocess
import sys
import time

import torch

from tempembed.system.memory import peak_growth

QUERIES, DOCUMENTS, WIDTH, K = 1000, 1_000_000, 1024, 100
VARIANTS = ("ours", "faiss", "float32")


def main() -> None:
    """Print the measurement of one variant as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    print(json.dumps(measure(parser.parse_args().variant)))


def apart(variant: str) -> dict[str, float]:
    """`measure` in a new process."""
    command = [sys.executable, "-m", "benchmarks.search", variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(variant: str) -> dict[str, float]:
    """Best seconds of three (float32: of two), bytes of the documents and of the search; a checksum of the distances."""
    generator = torch.Generator().manual_seed(0)
    if variant == "float32":
        documents = torch.randn(DOCUMENTS, WIDTH, generator=generator)
        queries = torch.randn(QUERIES, WIDTH, generator=generator)
        run, repeats = lambda: float32(queries, documents), 2
    else:
        documents = torch.randint(0, 256, (DOCUMENTS, WIDTH // 8), dtype=torch.uint8, generator=generator)
        queries = torch.randint(0, 256, (QUERIES, WIDTH // 8), dtype=torch.uint8, generator=generator)
        run, repeats = (ours(queries, documents) if variant == "ours" else faiss(queries, documents)), 3
    found, seconds = run(), []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    extra = peak_growth(run, torch.device("cpu"))
    return {
        "seconds": min(seconds), "bytes": documents.nbytes + extra, "search_bytes": extra,
        "checksum": float(found.double().sum()),
    }  # fmt: skip


def ours(queries, documents):
    """The kernel of tempembed."""
    from tempembed.index.hamming import hamming_top_k

    return lambda: hamming_top_k(queries, documents, K)[0]


def faiss(queries, documents):
    """IndexBinaryFlat, which counts on all cores."""
    import faiss

    index = faiss.IndexBinaryFlat(WIDTH)
    index.add(documents.numpy())
    return lambda: torch.from_numpy(index.search(queries.numpy(), K)[0])


def float32(queries: torch.Tensor, documents: torch.Tensor, block: int = 16_384) -> torch.Tensor:
    """Inner products a block of documents at a time, the best 100 kept."""
    best = torch.full((len(queries), K), -torch.inf)
    for rows in documents.split(block):
        best = torch.cat([best, (queries @ rows.T).topk(K, sorted=False).values], 1).topk(K).values
    return best


if __name__ == "__main__":
    main()
