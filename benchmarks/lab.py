"""60 codecs on a retrieval task of 20,000 documents: against float32 alone, and against mteb run once for each codec."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

NUM_DOCUMENTS, NUM_QUERIES, NUM_CODECS = 20_000, 1000, 60
ENCODERS = ("static", "transformer")


def main() -> None:
    """Print the measurement of one encoder as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", choices=ENCODERS)
    print(json.dumps(measure(parser.parse_args().encoder)))


def apart(encoder: str) -> dict[str, float]:
    """`measure` in a new process."""
    command = [sys.executable, "-m", "benchmarks.lab", encoder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str) -> dict[str, float]:
    """Seconds of float32 alone and of all codecs, both with encoding; and of mteb for one codec of each of its ways."""
    from tempembed.codecs.sets import lab_specs
    from tempembed.codecs.spec import Spec
    from tempembed.data.installed_code import installed_code
    from tempembed.encoders.load import load_encoder
    from tempembed.encoders.tokenizer import train_tokenizer
    from tempembed.evaluation.evaluate import evaluate
    from tempembed.evaluation.retrieval import Retrieval
    from tempembed.settings.train import TrainSettings
    from tempembed.stages.initial_encoder import build_encoder

    table = pq.read_table(installed_code().train)
    documents = list(dict.fromkeys(table["document"].to_pylist()))[:NUM_DOCUMENTS]
    place = {text: i for i, text in enumerate(documents)}
    both = zip(table["query"].to_pylist(), table["document"].to_pylist(), strict=True)
    pairs = [(query, place[document]) for query, document in both if document in place]
    pairs = list(dict(pairs).items())[:NUM_QUERIES]
    task = Retrieval(
        name="bench",
        queries=[q for q, _ in pairs],
        documents=documents,
        relevant=[{d: 1.0} for _, d in pairs],
    )
    settings = TrainSettings.of(data="", encoder=name, width=1024 if name == "static" else 384, layers=4)
    tokenizer = train_tokenizer(documents[:2000], settings.model.vocabulary)
    folder = tempfile.mkdtemp()
    build_encoder(settings, tokenizer).save(folder)
    encoder = load_encoder(folder)
    encoder.embed(encoder.prepare(documents[:64], encoder.role("document")))
    specs = random.Random(0).sample(lab_specs(encoder.width), NUM_CODECS)
    from tempembed.index.hamming import hamming_top_k  # compiled once for a machine, not once for a run

    hamming_top_k(*(torch.zeros(2, 128, dtype=torch.uint8),) * 2, 1)
    # encoded once, for both: the noise of the encoding is not the codecs'
    began = time.perf_counter()
    embeddings = {
        id(texts): encoder.embed(encoder.prepare(texts, encoder.role(role)))
        for role, texts in (("query", task.queries), ("document", task.documents))
    }
    encoding = time.perf_counter() - began
    found = {}
    for what, chosen in (("float32", [Spec(width=encoder.width)]), ("all", specs)):
        began = time.perf_counter()
        evaluate([task], lambda texts, *_: embeddings[id(texts)], model="m", specs=lambda _, c=chosen: c)
        found[what] = encoding + time.perf_counter() - began
    return {"encoding": encoding, **found, **_mteb(task, folder)}


def _mteb(task, folder: str) -> dict[str, float]:
    """mteb's evaluation of a truncated and of a binarised model, each with its encoding, as mteb does it."""
    import mteb
    from mteb.cache import ResultCache
    from mteb.models import CompressionWrapper, SentenceTransformerEncoderWrapper
    from mteb.types import OutputDType
    from sentence_transformers import SentenceTransformer

    from tempembed.evaluation.mteb_local import to_mteb

    found = {}
    for name in ("truncate_dim", "binary"):
        dim = 128 if name == "truncate_dim" else None
        model = SentenceTransformerEncoderWrapper(SentenceTransformer(folder, truncate_dim=dim, device="cpu"))
        wrapped = model if dim else CompressionWrapper(model, OutputDType.BINARY)
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            mteb.evaluate(
                wrapped,
                [to_mteb(task)],
                cache=ResultCache(Path(cache)),
                overwrite_strategy="always",
                show_progress_bar=False,
            )
            found[f"mteb_{name}"] = time.perf_counter() - began
    return found


if __name__ == "__main__":
    main()
