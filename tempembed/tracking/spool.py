"""What a tracking server is to be told, kept on disk until it has been: an outage of the server costs nothing and loses nothing."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tempembed.tracking.tracker import numbers


class Spool:
    """A file of records, one JSON line each, appended by any number of processes and read in order by one (`Courier`).

    A record names its run: "" for the root, otherwise a run below it. Times are kept, so that telling a server twice is
    telling it once. A disk that is full keeps records in memory until there is room.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._pending: list[bytes] = []
        self._steps = self._newest_steps()
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._append(b"\n")  # a writer was killed in mid-line: the line is void, the next one is not

    def __getstate__(self) -> Path:
        """Another process needs the place only."""
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def run(self, name: str = "") -> "SpooledRun":
        """The run of a name."""
        return SpooledRun(self, name)

    def write(self, run: str, kind: str, **facts: Any) -> None:
        """Append a record."""
        record = {"run": run, "kind": kind, "time": int(time.time() * 1000), **facts}
        self._append(json.dumps(record).encode() + b"\n")

    def log(self, run: str, metrics: dict[str, Any]) -> None:
        """Metrics of a step, once: a run that went on from a checkpoint reports some steps again."""
        step = metrics["step"]
        if step <= self._steps.get(run, 0):
            return
        self._steps[run] = step
        self.write(run, "points", log=step, points=[(k, v, step) for k, v in numbers(metrics).items()])

    def _append(self, line: bytes) -> None:
        self._pending.append(line)
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, b"".join(self._pending))  # one call: lines of processes do not mix
            finally:
                os.close(descriptor)
            self._pending.clear()
        except OSError:
            pass  # written with the next record

    def _newest_steps(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for record, _ in read_records(self.path, 0):
            if "log" in record:
                found[record["run"]] = max(record["log"], found.get(record["run"], 0))
        return found


class SpooledRun:
    """A run that is told through a spool; it has the methods of `MlflowRun` that tell."""

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool, self._name = spool, name

    def child(self, name: str, params: dict[str, Any], tags: dict[str, str] | None = None) -> "SpooledRun":
        """A run below the root, started or started again."""
        self._spool.write(name, "start", params=params, tags=tags or {})
        return SpooledRun(self._spool, name)

    def sibling(self, name: str) -> "SpooledRun":
        """Another run below the root."""
        return SpooledRun(self._spool, name)

    def log(self, metrics: dict[str, Any]) -> None:
        """Metrics of a training step; those of a step that was logged before are left out."""
        self._spool.log(self._name, metrics)

    def points(self, points: Sequence[tuple[str, float, int]]) -> None:
        """(key, value, step)."""
        self._spool.write(self._name, "points", points=list(points))

    def tag(self, key: str, value: str) -> None:
        """A tag."""
        self._spool.write(self._name, "tag", key=key, value=value)

    def file(self, path: Path) -> None:
        """A file as an artifact; it is read when it is delivered."""
        self._spool.write(self._name, "file", path=str(path))

    def finish(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED."""
        self._spool.write(self._name, "finish", status=status)


def read_records(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole records from a byte on, each with the byte after it. Lines that are void are left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                record["run"], record["kind"], record["time"]
            except (ValueError, TypeError, KeyError):
                continue
            yield record, offset
