"""The files of a sweep: its settings, and a record of each trial. They are all that going on needs; nothing is pickled."""

from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from tempembed.run.folder import TRACKING_FILES, RunFolder, read_object
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.names import check_name

RECORD = "trial.json"


class Ledger(RunFolder):
    """A sweep's folder: `sweep.json`, and `trials/NAME/trial.json` with what is known of a trial."""

    what: ClassVar[str] = "sweep"
    file: ClassVar[str] = "sweep.json"
    leavings: ClassVar[tuple[str, ...]] = (
        "trials", ".tune", "study.db", "trials.json", "report.html", "decisions.json", *TRACKING_FILES,
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._writing = Lock()  # the courier records the ids of runs in MLflow

    def trial_folder(self, name: str) -> Path:
        """The folder of a trial.

        Raises:
            UserError: not a name.
        """
        return self.folder / "trials" / check_name(name, "trial")

    def record(self, name: str, **facts: Any) -> dict[str, Any]:
        """Add to what is known of a trial."""
        folder = self.trial_folder(name)
        with self._writing:
            folder.mkdir(parents=True, exist_ok=True)
            known = {"name": name, **self.known(name), **facts}
            write_json(folder / RECORD, known)
        return known

    def known(self, name: str) -> dict[str, Any]:
        """The record of a trial; empty if there is none."""
        return read_object(self.trial_folder(name) / RECORD) or {}

    def records(self) -> list[dict[str, Any]]:
        """Records of all trials, in the order of their numbers."""
        found = {path: read_object(path) for path in (self.folder / "trials").glob(f"*/{RECORD}")}
        for path, record in found.items():
            if record and not (
                isinstance(record.get("number"), int) and record.get("name") == path.parent.name
            ):
                raise UserError(
                    f"{path}: expected the record of trial {path.parent.name} with its number, got {str(record)[:100]}; "
                    "remove the trial's folder, or begin anew with --fresh"
                )
        return sorted((record for record in found.values() if record), key=lambda record: record["number"])
