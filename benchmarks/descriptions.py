"""Debian's package descriptions as pairs: what a package is in a line, and its description. Read from apt's own lists.

python -m benchmarks.descriptions          # prints the file, which it makes if it is not there
"""

import argparse
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.system.atomic import appearing
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError

LISTS = Path("/var/lib/apt/lists")
HELPER = "/usr/lib/apt/apt-helper"
LEAST_CHARACTERS = 40
"""A shorter description says no more than its line."""


def main() -> None:
    """Print the path."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(descriptions())


def descriptions() -> Path:
    """A Parquet file with `query`, `document` and `package`, in the order of the archive; no text is there twice.

    Raises:
        UserError: apt has no descriptions.
    """
    path = cache_dir() / "benchmarks" / "descriptions.parquet"
    if path.exists():
        return path
    lists = sorted(LISTS.glob("*_Translation-en*"), key=lambda file: -file.stat().st_size)
    if not lists:
        raise UserError(
            f"{LISTS}: expected Debian's package descriptions, found none; run apt-get update -o Acquire::Languages=en"
        )
    rows, seen = [], set[str]()
    text = subprocess.run(
        [HELPER, "cat-file", str(lists[0])], check=True, capture_output=True
    ).stdout.decode()
    for block in text.split("\n\n"):
        row = _pair(block)
        if row and not {row["query"], row["document"]} & seen:
            seen |= {row["query"], row["document"]}
            rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return path


def _pair(block: str) -> dict[str, str] | None:
    """The pair of a paragraph of apt's list: `Package: NAME`, `Description-en: LINE`, and indented lines."""
    package = re.search(r"^Package: (\S+)$", block, re.MULTILINE)
    found = re.search(r"^Description-en: (.+)\n((?: .*\n?)+)", block, re.MULTILINE)
    if not package or not found:
        return None
    lines = (line.strip() for line in found[2].splitlines())
    document = " ".join(line for line in lines if line != ".")
    if len(document) < LEAST_CHARACTERS:
        return None
    return {"query": found[1].strip(), "document": document, "package": package[1]}


if __name__ == "__main__":
    main()
