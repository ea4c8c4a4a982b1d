"""What trackers are to be told, kept on disk until they have been: an outage of a tracker costs nothing and loses nothing."""

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tempembed.tracking.lines import Lines
from tempembed.tracking.tracker import Point, TrackedDataset, Tracker, numbers

ENDS = ("FINISHED", "FAILED", "KILLED")
LARGEST = 2**62
"""Bound of steps and whole numbers: a server's database has 64 bits."""


class Spool(Tracker):
    """A file of records, one JSON line each, appended by any number of processes and read in order by each `Courier`.

    It is told as any tracker is. A record names its run: "" for the root, otherwise a run below it. Times are kept, so that
    telling a tracker twice is telling it once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = Lines(path)
        self._steps: dict[str, int] = {}
        """The newest step that was logged, by run."""
        self._told: dict[tuple[str, str, int], float] = {}
        """Values by run, key and step, of other points."""
        for record, _ in read_records(path, 0):
            self._remember(record)

    def run(self, name: str = "") -> "SpooledRun":
        """The run of a name."""
        return SpooledRun(self, name)

    def write(self, run: str, kind: str, **facts: Any) -> None:
        """Append a record."""
        record = {"run": run, "kind": kind, "time": int(time.time() * 1000), **facts}
        self._remember(record)
        self._lines.append(json.dumps(record).encode())

    def start(self, run: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """A run begins, or is resumed."""
        self.write(run, "start", params=dict(settings), tags=dict(tags))

    def log(self, run: str, metrics: Mapping[str, Any], milliseconds: int | None = None) -> None:
        """Metrics of a step, once: a run that was resumed from a checkpoint reports some steps again."""
        step = metrics["step"]
        if step <= self._steps.get(run, 0):
            return
        self.write(run, "points", log=step, points=[(k, v, step) for k, v in numbers(metrics).items()])

    def points(self, run: str, points: Iterable[Point], milliseconds: int | None = None) -> None:
        """Those points that were not written before: a run that is resumed says some again."""
        if new := [(k, v, step) for k, v, step in points if self._told.get((run, k, step)) != v]:
            self.write(run, "points", points=new)

    def tag(self, run: str, key: str, value: str) -> None:
        """A tag of a run."""
        self.write(run, "tag", key=key, value=value)

    def file(self, run: str, path: Path) -> None:
        """A file of a run; it is read when it is delivered."""
        self.write(run, "file", path=str(path))

    def dataset(self, run: str, dataset: TrackedDataset) -> None:
        """Data that a run reads."""
        self.write(run, "dataset", **dataclasses.asdict(dataset))

    def model(
        self, run: str, facts: Mapping[str, str], points: Sequence[Point], milliseconds: int | None = None
    ) -> None:
        """The model of a run; its points are told to the run first."""
        self.points(run, points)
        self.write(run, "model", facts=dict(facts), points=list(points))

    def finish(self, run: str, status: str = "FINISHED") -> None:
        """A run ends: FINISHED, FAILED or KILLED."""
        self.write(run, "finish", status=status)

    def _remember(self, record: dict[str, Any]) -> None:
        if record["kind"] == "points" and "log" in record:
            self._steps[record["run"]] = max(record["log"], self._steps.get(record["run"], 0))
        elif record["kind"] == "points":
            self._told |= {(record["run"], key, step): value for key, value, step in record["points"]}


class SpooledRun:
    """One run of a spool, the root or one below it."""

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool, self._name = spool, name

    def child(self, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> "SpooledRun":
        """A run below the root, started or resumed."""
        run = SpooledRun(self._spool, name)
        run.start(settings, tags)
        return run

    def start(self, settings: Mapping[str, Any] = {}, tags: Mapping[str, str] = {}) -> None:
        """It is running, whatever an earlier driver had to say of its end."""
        self._spool.start(self._name, settings, tags)

    def points(self, points: Sequence[Point]) -> None:
        """Points of curves, each once."""
        self._spool.points(self._name, points)

    def tag(self, key: str, value: str) -> None:
        """A tag."""
        self._spool.tag(self._name, key, value)

    def file(self, path: Path) -> None:
        """A file; it is read when it is delivered."""
        self._spool.file(self._name, path)

    def datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """The data that it reads."""
        for dataset in datasets:
            self._spool.dataset(self._name, dataset)

    def model(self, facts: Mapping[str, str], points: Sequence[Point]) -> None:
        """The model that it has made, with its scores."""
        self._spool.model(self._name, facts, points)

    def finish(self, status: str = "FINISHED") -> None:
        """It ends: FINISHED, FAILED or KILLED."""
        self._spool.finish(self._name, status)


def replay(record: Mapping[str, Any], tracker: Tracker) -> None:
    """Tell a tracker what a record says."""
    run, when = record["run"], record["time"]
    match record["kind"]:
        case "start":
            tracker.start(run, record["params"], record["tags"])
        case "points" if "log" in record:
            values = {key: value for key, value, _ in record["points"]}
            tracker.log(run, {**values, "step": record["log"]}, when)
        case "points":
            tracker.points(run, [(key, value, step) for key, value, step in record["points"]], when)
        case "tag":
            tracker.tag(run, record["key"], record["value"])
        case "file":
            tracker.file(run, Path(record["path"]))
        case "dataset":
            names = [field.name for field in dataclasses.fields(TrackedDataset)]
            facts: dict[str, Any] = {name: record.get(name) for name in names}
            tracker.dataset(run, TrackedDataset(**facts))
        case "model":
            points = [(key, value, step) for key, value, step in record["points"]]
            tracker.model(run, record["facts"], points, when)
        case "finish":
            tracker.finish(run, record["status"])


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
                record = json.loads(line.decode())
                if b"\\u" in line:
                    json.dumps(record, ensure_ascii=False).encode()  # fails on half of a character
            except (ValueError, RecursionError):
                continue
            if _is_record(record):
                yield record, offset


def _is_record(record: Any) -> bool:
    """Whether it is what `Spool.write` writes."""
    if not isinstance(record, dict) or not 0 <= _whole(record.get("time")) < LARGEST:
        return False
    match record:
        case {"run": str(), "kind": "points", "points": list(points)}:
            return 0 <= _whole(record.get("log", 0)) < LARGEST and all(map(_is_point, points))
        case {"run": str(), "kind": "start", "params": dict(), "tags": dict()}:
            return True
        case {"run": str(), "kind": "tag", "key": str(), "value": str()}:
            return True
        case {"run": str(), "kind": "file", "path": str()}:
            return True
        case {"run": str(), "kind": "dataset", "context": "training" | "test"} as found:
            return all(isinstance(found.get(key), str) for key in ("name", "source", "digest")) and (
                found.get("num_rows") is None or 0 <= _whole(found["num_rows"]) < LARGEST
            )
        case {"run": str(), "kind": "model", "facts": dict(facts), "points": list(points)}:
            return all(isinstance(value, str) for value in facts.values()) and all(map(_is_point, points))
        case {"run": str(), "kind": "finish", "status": str(status)}:
            return status in ENDS
    return False


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _is_point(point: Any) -> bool:
    match point:
        case [str(), int() | float() as value, int(step)]:
            return abs(step) < LARGEST and (isinstance(value, float) or abs(value) < LARGEST)
    return False
