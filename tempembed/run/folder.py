"""A run's own folder: one writer at a time, the settings that it began with, and whether there is something to go on with."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.untrusted import check_place, read_json

SPOOL = "mlflow.spool"
"""What trackers are to be told of the run or the sweep (tracking.spool), and beside it what their couriers keep."""
TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's event files."""
TRACKING_FILES = (SPOOL, "*.sent", "*.refused", TENSORBOARD)


class RunFolder:
    """Holds `run.json`: a run is its settings and its folder, and the same command again goes on with it."""

    what: ClassVar[str] = "run"
    file: ClassVar[str] = "run.json"
    leavings: ClassVar[tuple[str, ...]] = (
        "checkpoints", "metrics.jsonl", "progress.log", *TRACKING_FILES, "modules.json", "trained.json", "evaluation.json",
        "evaluation.html", "retrievals.html", "verdict.json", "tau.json", "adapter", "run.yaml",
    )  # fmt: skip
    """Names and patterns of what `fresh` removes."""

    def __init__(self, folder: Path) -> None:
        check_name(folder.name, self.what)
        check_place(folder, self.what)
        self.folder = folder
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Keep other drivers out until this process ends, however it ends.

        Raises:
            UserError: another live one is at work in the folder.
        """
        self._lock = hold(self.folder, self.what)

    def settings(self) -> dict[str, Any] | None:
        """What `open` wrote, or None.

        Raises:
            UserError: a file that is damaged.
        """
        return read_object(self.folder / self.file)

    def open(
        self,
        settings: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] | None = None,
        unlike: Callable[[dict[str, Any]], str] | None = None,
        fresh: bool = False,
    ) -> bool:
        """Begin, or go on; whether there is something to go on with.

        Args:
            settings: plain JSON values; a run is the same if they are.
            defaults: what a setting is taken for that an earlier version of us did not have.
            unlike: tells, of the settings that are there, what makes it another run; a run that goes on keeps the new ones.
                Default: any difference.
            fresh: forget what an earlier one left.

        Raises:
            UserError: the folder holds another one.
        """
        if fresh:
            for path in self._present(self.file, *self.leavings):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        there = self.settings()
        settings = json.loads(json.dumps(settings))
        if there is None:
            if left := [path.name for path in self._present(*self.leavings)]:
                raise UserError(
                    f"{self.what} {self.folder}: expected a folder that is new, or {self.file} in it, found {', '.join(left)} and "
                    "no such file; choose another --output, or throw these away with --fresh"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / self.file, settings)
            return False
        if unlike:
            self.refuse(unlike(there))
            write_json(self.folder / self.file, {**there, **settings})
            return True
        known = {**json.loads(json.dumps(dict(defaults or {}))), **_flat(there)}
        asked = _flat(settings)
        changed = sorted(key for key in {**known, **asked} if known.get(key) != asked.get(key))
        self.refuse("; ".join(f"{key}: {known.get(key)!r} there, {asked.get(key)!r} here" for key in changed))
        return True

    def _present(self, *patterns: str) -> list[Path]:
        return [path for pattern in patterns for path in sorted(self.folder.glob(pattern))]

    def refuse(self, unlike: str) -> None:
        """Raise UserError if there is something that makes it another one."""
        if unlike:
            raise UserError(
                f"{self.what} {self.folder}: expected its settings, got others ({unlike}); choose another --output, or "
                "begin anew in this one with --fresh"
            )


def hold(folder: Path, what: str) -> IO[str]:
    """Keep others out of a folder, which is made if it is not there; as long as the file that is returned stays open.

    Raises:
        UserError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise UserError(
            f"{what} {folder}: expected no other driver at work on it, another one holds it now "
            f"({lock.read()[:200] or 'unknown'}); wait for it, stop it, or choose another --output"
        ) from None
    except OSError as error:
        raise UserError(
            f"{what} {folder}: expected a file system that can lock a file, so that two drivers do not write over each other, got "
            f"{error}; choose another --output, or have it mounted with locks (Lustre: -o flock; NFS: lockd)"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of settings opened, so that a difference names the setting."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= value if isinstance(value, dict) else {key: value}
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a file of ours; None where there is no file.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object, could not read it as one: {str(found)[:60]!r}")
    return found
