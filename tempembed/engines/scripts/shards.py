"""The shards of an encode, for the scripts that load them into an engine. Needs numpy and pyarrow only."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).parent
Settings = dict[str, Any]


def read_settings() -> Settings:
    """What `tempembed export --engine` wrote: engine, codec, storage, width, num_rows, shards (a folder) and name (of the table)."""
    return json.loads((HERE / "settings.json").read_text())


def batches(settings: Settings) -> Iterator[tuple[list[str], np.ndarray]]:
    """Ids and codes of each shard, in order: packed bits [M, B] in uint8, or numbers [M, K]."""
    num = 0
    for path in sorted(Path(settings["shards"]).glob("*.parquet")):
        try:
            table = pq.ParquetFile(path, page_checksum_verification=True).read(["id"])
            ids, codes = table["id"].to_pylist(), np.load(path.with_suffix(".code.npy"), mmap_mode="r")
        except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
            sys.exit(
                f"error: {path}: expected a whole shard, got {str(error)[:200]}; run the same tempembed encode again"
            )
        if len(ids) != len(codes):
            sys.exit(
                f"error: {path}: expected {len(ids):,} codes, got {len(codes):,}; run the same tempembed encode again"
            )
        num += len(ids)
        yield ids, codes
        print(f"loaded {num:,} of {settings['num_rows']:,}", file=sys.stderr)
    if num != settings["num_rows"]:
        sys.exit(
            f"error: {settings['shards']}: expected {settings['num_rows']:,} documents, got {num:,}; are all shards there?"
        )


def all_ids(settings: Settings) -> list[str]:
    """Ids of all documents, for engines that know rows by number only."""
    paths = sorted(Path(settings["shards"]).glob("*.parquet"))
    return [each for path in paths for each in pq.read_table(path, columns=["id"])["id"].to_pylist()]


def packed(queries: np.ndarray) -> np.ndarray:
    """Bits of float queries, as the codes of documents have them: [Q, K] to uint8 [Q, B], the first coordinate the highest bit."""
    return np.packbits(queries > 0, axis=1)


def main(load: Callable[[Settings, str], None], target: str, about: str) -> None:
    """Parse the command line, and load."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--target", default=target, help=f"default: {target}")
    arguments = parser.parse_args()
    try:
        load(read_settings(), arguments.target)
    except Exception as error:  # a server that is away, a full disk: each client has classes of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        sys.exit(
            f"error: {arguments.target}: expected it to take the documents, got {lines[0][:300]}; check the target, and load again"
        )
