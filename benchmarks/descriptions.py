"""Debian's package descriptions as pairs: what a package is in a line, and its description. Read from apt's own lists.

python -m benchmarks.descriptions          # prints the file, which it makes if it is not there
"""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.data.descriptions import LISTS, apt_list, package_descriptions
from tempembed.system.atomic import appearing
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError


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
    if apt_list() is None:
        raise UserError(
            f"{LISTS}: expected Debian's package descriptions, found none; run apt-get update -o Acquire::Languages=en"
        )
    rows, seen = [], set[str]()
    for row in package_descriptions():
        if not {row["query"], row["document"]} & seen:
            seen |= {row["query"], row["document"]}
            rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return path


if __name__ == "__main__":
    main()
