"""Files that are written in whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


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
