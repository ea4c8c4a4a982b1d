"""Debian's package descriptions, read from apt's own lists."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

LISTS = Path("/var/lib/apt/lists")
HELPER = "/usr/lib/apt/apt-helper"
LEAST_CHARACTERS = 40
"""A shorter description says no more than its line."""


def apt_list() -> Path | None:
    """The largest list of descriptions; None where apt has none."""
    return max(LISTS.glob("*_Translation-en*"), key=lambda file: file.stat().st_size, default=None)


def package_descriptions() -> Iterator[dict[str, str]]:
    """`query` (a line), `document` (the description) and `package` of each, in the order of the archive; some come twice."""
    path = apt_list()
    if path is None:
        return
    content = subprocess.run([HELPER, "cat-file", str(path)], check=True, capture_output=True).stdout
    for block in content.decode().split("\n\n"):
        if row := _pair(block):
            yield row


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
