"""The embedded raw text: Python sources and documentation of this environment, and what Debian has. No download."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tempembed.data.descriptions import apt_list
from tempembed.data.installed_code import MAX_FILE_BYTES, OWN_PACKAGES, default_roots
from tempembed.data.raw_text import Part, file_part, walk

SKIPPED = ("__pycache__", "site-packages", *sorted(OWN_PACKAGES))
DOCUMENTATION = re.compile(r"METADATA|README|NEWS|CHANGES|.*\.(md|rst)", re.IGNORECASE)
"""Names of a package's files that are documentation."""
DOCS = re.compile(r"(README|NEWS|FAQ|TODO).*|.*\.(txt|md|rst)(\.gz)?", re.IGNORECASE)
"""Of Debian's; its changelogs and copyrights are left out."""
NO_DOCS = re.compile(r"changelog|copyright|licen[cs]e", re.IGNORECASE)
SHARE = Path("/usr/share")


def installed_parts(roots: Sequence[Path] | None = None, share: Path = SHARE) -> Iterator[Part]:
    """Files of this environment: Python sources, then documentation of packages, then Debian's docs, manuals and descriptions.

    Sources above 1 MB, which are generated tables, are left out, and our own packages.

    Args:
        roots: folders that hold packages; default this interpreter's.
        share: where Debian has `doc` and `man`.
    """
    files = [file for root in roots or default_roots() for file in walk(root, SKIPPED)]
    for file in files:
        if file.name.endswith(".py") and file.stat().st_size <= MAX_FILE_BYTES:
            yield file_part(file, "file", installed=True)
    for file in files:
        if DOCUMENTATION.fullmatch(file.name):
            yield file_part(file, "file", installed=True)
    for file in walk(share / "doc") if (share / "doc").is_dir() else ():
        if not file.is_symlink() and DOCS.fullmatch(file.name) and not NO_DOCS.search(file.name):
            yield file_part(file, "file", installed=True)
    for folder in sorted((share / "man").glob("man[0-9]*")):
        for file in walk(folder):
            if not file.is_symlink():
                yield file_part(file, "man", installed=True)
    if share == SHARE and (path := apt_list()):
        yield file_part(path, "descriptions", installed=True)
