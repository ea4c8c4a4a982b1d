"""Where metrics go: the one interface between runs and whatever keeps them."""

import json
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Takes the metrics of one run."""

    def log(self, metrics: dict[str, Any]) -> None:
        """Metrics of a step; `step` is one of the keys."""


class JsonlTracker:
    """Appends each report as a line of JSON, each step once: a run that went on from a checkpoint reports some again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._pending: list[bytes] = []
        self._step = max((int(row["step"]) for row in read_jsonl(path)), default=0)

    def log(self, metrics: dict[str, Any]) -> None:
        """One line."""
        if metrics["step"] <= self._step:
            return
        self._step = metrics["step"]
        self._pending.append(json.dumps(metrics).encode() + b"\n")
        try:
            with self._path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, 2)
                    if file.read(1) != b"\n":  # a writer was killed in mid-line
                        file.write(b"\n")
                file.write(b"".join(self._pending))
            self._pending.clear()
        except OSError:
            pass  # a full disk: written with the next


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The reports in the file; a line that was cut off is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            rows.append({"step": 0, **json.loads(line)})
        except ValueError:
            continue
    return rows


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The entries that are metrics: numbers under a key with a phase, `phase/metric`."""
    return {k: float(v) for k, v in metrics.items() if "/" in k and isinstance(v, int | float)}
