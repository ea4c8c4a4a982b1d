"""Files that are written in whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


def write_json(path: Path, value: Any) -> None:
    """Write JSON into a file beside `path`, flush it to the disk, and rename it into place; write into a pipe or device directly."""
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(json.dumps(value, indent=1))
        return
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, with its suffix, that takes its name at the end of the block; none is left where the block fails."""
    partial = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        yield partial
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
