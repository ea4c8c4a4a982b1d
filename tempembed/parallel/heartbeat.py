"""Which rank is silent: a collective that times out says that somebody is missing, and not who."""

import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

EVERY = 1.0
"""Seconds between beats."""


class Heartbeat:
    """A file of this rank that is touched as long as its process runs: neither a stopped nor a lost one touches it."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Beat in a folder that all ranks see."""
        self._path = folder / f"rank_{rank}.json"
        self._done = threading.Event()

    def __enter__(self) -> "Heartbeat":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def _beat(self) -> None:
        while not self._done.wait(EVERY):
            try:
                os.utime(self._path)
            except OSError:
                pass  # the next beat tries again


def silent_ranks(folder: Path, world_size: int, seconds: float = 10 * EVERY) -> list[str]:
    """The ranks that were not heard of for so long, in words."""
    now, found = time.time(), []
    for rank in range(world_size):
        path = folder / f"rank_{rank}.json"
        try:
            age = now - path.stat().st_mtime
            who: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            found.append(f"rank {rank} (it never began)")
            continue
        if age > seconds:
            found.append(
                f"rank {rank} (process {who.get('process')} on {who.get('host')}, silent for {age:.0f} s)"
            )
    return found
