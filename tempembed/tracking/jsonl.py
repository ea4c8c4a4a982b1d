"""The metrics of one run as JSON Lines, in a file of its own: always written, by the process that trains."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempembed.tracking.lines import Lines
from tempembed.tracking.tracker import Tracker

METRICS = "metrics.jsonl"
"""Name of the file in a run's folder."""


class JsonlTracker(Tracker):
    """Appends each report as a line of JSON, each step once: a run that was resumed from a checkpoint reports some again."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._step = max((int(row["step"]) for row in read_jsonl(path)), default=0)

    def log(self, run: str, metrics: Mapping[str, Any], milliseconds: int | None = None) -> None:
        """Append a line."""
        if metrics["step"] > self._step:
            self._step = metrics["step"]
            self._lines.append(json.dumps(metrics).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The reports in the file; a line that was cut off is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            rows.append({"step": 0, **json.loads(line)})
        except (ValueError, TypeError, RecursionError):
            continue
    return rows
