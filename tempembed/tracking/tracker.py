"""The metrics of one run, in a file of its own."""

import json
from pathlib import Path
from typing import Any

from tempembed.tracking.lines import Lines


class JsonlTracker:
    """Appends each report as a line of JSON, each step once: a run that went on from a checkpoint reports some again."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._step = max((int(row["step"]) for row in read_jsonl(path)), default=0)

    def log(self, metrics: dict[str, Any]) -> None:
        """One line."""
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


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The entries that are metrics: numbers under a key with a phase, `phase/metric`."""
    return {k: float(v) for k, v in metrics.items() if "/" in k and isinstance(v, int | float)}
