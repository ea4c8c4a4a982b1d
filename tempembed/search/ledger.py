"""The files of a sweep: its settings, and a record of each trial. They are all that going on needs; nothing is pickled."""

import fcntl
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tempembed.atomic import write_json
from tempembed.errors import UserError
from tempembed.untrusted import check_name, check_place, read_json

RECORD = "trial.json"
DONE = ("FINISHED", "STOPPED", "FAILED")


class Ledger:
    """A sweep's folder: `sweep.json`, and `trials/NAME/trial.json` with what is known of a trial."""

    def __init__(self, folder: Path) -> None:
        check_name(folder.name, "sweep")
        check_place(folder, "sweep")
        self.folder = folder
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Keep other drivers out until this process ends, however it ends.

        Raises:
            UserError: another live one is at work in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"sweep {self.folder}: expected no other driver at work on it, another one holds it now; wait for it, "
                "stop it, or choose another --output"
            ) from None

    def settings(self) -> dict[str, Any] | None:
        """What `open` wrote, or None.

        Raises:
            UserError: a file that is damaged.
        """
        return _read(self.folder / "sweep.json")

    def open(self, settings: Mapping[str, Any], *, fresh: bool = False) -> bool:
        """Begin the sweep, or go on with it; whether there is something to go on with.

        Args:
            settings: plain JSON values; a sweep is the same if they are.
            fresh: forget what an earlier sweep left.

        Raises:
            UserError: the folder holds a sweep with other settings.
        """
        if fresh:
            for old in ("trials", ".tune"):
                shutil.rmtree(self.folder / old, ignore_errors=True)
            for old in ("sweep.json", "study.db", "trials.json", "report.html"):
                (self.folder / old).unlink(missing_ok=True)
        there = self.settings()
        settings = json.loads(json.dumps(settings))
        if there is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "sweep.json", settings)
            return False
        known, asked = _flat(there), _flat(settings)
        if changed := [key for key in {**known, **asked} if known.get(key) != asked.get(key)]:
            differences = "; ".join(
                f"{key}: {known.get(key)!r} there, {asked.get(key)!r} here" for key in sorted(changed)
            )
            raise UserError(
                f"sweep {self.folder}: expected its settings, got others ({differences}); choose another --output, or "
                "begin anew in this one with --fresh"
            )
        return True

    def trial_folder(self, name: str) -> Path:
        """Where a trial keeps everything."""
        return self.folder / "trials" / check_name(name, "trial")

    def record(self, name: str, **facts: Any) -> dict[str, Any]:
        """Add to what is known of a trial."""
        folder = self.trial_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        known = {"name": name, **(_read(folder / RECORD) or {}), **facts}
        write_json(folder / RECORD, known)
        return known

    def records(self) -> list[dict[str, Any]]:
        """Of all trials, in the order of their numbers."""
        found = {path: _read(path) for path in (self.folder / "trials").glob(f"*/{RECORD}")}
        for path, record in found.items():
            if record and not (
                isinstance(record.get("number"), int) and record.get("name") == path.parent.name
            ):
                raise UserError(
                    f"{path}: expected the record of trial {path.parent.name} with its number, got {str(record)[:100]}; "
                    "remove the trial's folder, or begin anew with --fresh"
                )
        return sorted((record for record in found.values() if record), key=lambda record: record["number"])


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of settings opened, so that a difference names the setting."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= value if isinstance(value, dict) else {key: value}
    return found


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object, could not read it as one: {str(found)[:60]!r}")
    return found
