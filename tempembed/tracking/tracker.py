"""Where metrics go: the one interface between runs and whatever keeps them."""

import json
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Takes the metrics of one run."""

    def log(self, metrics: dict[str, Any]) -> None:
        """Metrics of a step; `step` is one of the keys."""


class JsonlTracker:
    """Appends each report as a line of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, metrics: dict[str, Any]) -> None:
        """One line."""
        with self._path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The entries that are metrics: numbers under a key with a phase, `phase/metric`."""
    return {k: float(v) for k, v in metrics.items() if "/" in k and isinstance(v, int | float)}
