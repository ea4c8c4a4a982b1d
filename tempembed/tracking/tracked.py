"""The trackers of a run in this process: its metrics file, and a spool for those of elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tempembed.encoders.masked_shapes import FROM_HERE
from tempembed.run.folder import SPOOL
from tempembed.system.untrusted import read_json
from tempembed.tracking.delivery import delivery
from tempembed.tracking.jsonl import METRICS, JsonlTracker
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import Spool
from tempembed.tracking.tracker import TrackedDataset, TrackedRun, Tracker

IDENTITY = "tracking.id"
"""File with what trackers know the run in a folder by."""


@contextmanager
def tracked(
    output: Path,
    settings: dict[str, Any],
    datasets: Sequence[TrackedDataset],
    tracking: TrackingSettings,
    say: Callable[[str], None],
    tags: Mapping[str, str],
    done: Path | None = None,
) -> Iterator[list[Tracker]]:
    """What takes the run's reports; the trackers are told what it is, and how it ends.

    Args:
        output: folder of the run.
        settings: as plain JSON values.
        datasets: what it reads.
        tracking: resolved.
        say: takes what goes wrong on the way.
        tags: of the run.
        done: the file that says it is finished; default: that of training.
    """
    file = JsonlTracker(output / METRICS)
    if not tracking.trackers:
        yield [file]
        return
    spool, status = Spool(output / SPOOL), "FAILED"
    run = TrackedRun(
        name=output.name, folder=output.absolute(), settings=settings, identity=_identity(output),
        mlflow_uri=tracking.mlflow_uri, experiment=tracking.experiment, say=say,
    )  # fmt: skip
    with delivery(spool, run, tracking.trackers):
        spool.start("", run.settings, {})
        for dataset in datasets:
            spool.dataset("", dataset)
        for key, value in tags.items():
            spool.tag("", key, value)
        try:
            yield [file, spool]
            status = "FINISHED" if (done or output / "trained.json").exists() else "KILLED"
        except (SystemExit, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            spool.finish("", status)


def pretraining_tags(encoder: str) -> dict[str, str]:
    """Of a run that starts from a model that was pre-trained here: what trackers know that run by.

    Args:
        encoder: the folder of the model that the run starts from, or any other encoder.
    """
    folder = Path(encoder)
    for file, key in ((folder / "run.json", "id"), (folder / IDENTITY, "")):
        if (folder / FROM_HERE).is_file() and file.is_file():
            return {"tempembed.pretrained_by": read_json(file)[key] if key else file.read_text()}
    return {}


def _identity(output: Path) -> str:
    path = output / IDENTITY
    if not path.exists():
        path.write_text(uuid4().hex)
    return path.read_text()
