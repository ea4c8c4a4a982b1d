"""MLflow as a tracker: one parent run per sweep, one nested run per trial. Only this file, mlflow_run.py and registry.py import
mlflow.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.redact import redact
from tempembed.system.untrusted import require_file, require_inside
from tempembed.tracking.causes import answered
from tempembed.tracking.mlflow_run import MlflowRun
from tempembed.tracking.tracker import (
    Point,
    RefusedError,
    TrackedDataset,
    TrackedRun,
    Tracker,
    UnreachableError,
    numbers,
)
from tempembed.tracking.uri import SQLITE, check_database, check_uri

IDENTITY = "tempembed.identity"
NEVER = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
)
"""Errors of MLflow that the same request will meet again."""


class MlflowTracker(Tracker):
    """An MLflow run, and a nested run for each run below it."""

    def __init__(
        self,
        root: MlflowRun,
        folder: Path,
        started: Callable[[str, str], None] = lambda name, run_id: None,
        address: str = "",
        name: str = "model",
    ) -> None:
        """Tell MLflow below a run.

        Args:
            root: the run itself.
            folder: the run's; a file outside of it is not sent, whatever a record says.
            started: is told the name and the id of each run below it.
            address: of MLflow, for messages.
            name: of the run itself.
        """
        self._runs, self._root, self._started = {"": root}, root, started
        self._folder, self._name = folder, name
        self.address, self.run_id = address, root.run_id

    def start(self, run: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """The run itself has its settings from `start_run`."""
        with _delivered():
            if not run:
                self._root.go_on()
                return
            self._runs[run] = self._root.child(run, dict(settings), dict(tags))
            self._started(run, self._runs[run].run_id)

    def log(self, run: str, metrics: Mapping[str, Any], milliseconds: int | None = None) -> None:
        """A metric for each number."""
        self.points(
            run, [(key, value, metrics["step"]) for key, value in numbers(metrics).items()], milliseconds
        )

    def points(self, run: str, points: Sequence[Point], milliseconds: int | None = None) -> None:
        """A metric for each curve."""
        with _delivered():
            self._run(run).points(points, milliseconds)

    def tag(self, run: str, key: str, value: str) -> None:
        """A tag."""
        with _delivered():
            self._run(run).tag(key, value)

    def file(self, run: str, path: Path) -> None:
        """An artifact."""
        with _delivered():
            path = self._folder / path
            require_inside(self._folder, [path])
            self._run(run).file(require_file(path))

    def dataset(self, run: str, dataset: TrackedDataset) -> None:
        """An input of the run, in the column Dataset."""
        with _delivered():
            self._run(run).dataset(dataset)

    def model(
        self, run: str, facts: Mapping[str, str], points: Sequence[Point], milliseconds: int | None = None
    ) -> None:
        """A LoggedModel, in the column Models, with the scores as its metrics."""
        with _delivered():
            self._run(run).model_points(run or self._name, facts, points, milliseconds)

    def finish(self, run: str, status: str) -> None:
        """The run's status."""
        with _delivered():
            self._run(run).finish(status)

    def _run(self, name: str) -> MlflowRun:
        if name not in self._runs:  # another process has started it
            self._runs[name] = self._root.find(name) or self._root.child(name, {})
        return self._runs[name]


@contextmanager
def _delivered() -> Iterator[None]:
    """Within it, an error says whether MLflow may take it later.

    Raises:
        UnreachableError: MLflow does not answer.
        RefusedError: it will never take this.
    """
    try:
        yield
    except MlflowException as error:
        line = redact(str(error).splitlines()[0])
        if "must be in the 'active' state" in line:
            line = "its run was deleted there; restore it, or give the same command again, which tells a new run everything"
        raise (RefusedError if error.error_code in NEVER else UnreachableError)(line) from error
    except (
        FileNotFoundError,
        PermissionError,  # of the artifact store: the numbers after a file need not wait for it
        UserError,
        ValueError,
        TypeError,
    ) as error:  # of values that MLflow cannot have
        raise RefusedError(str(error)) from error
    except OSError as error:  # the artifact store
        raise UnreachableError(str(error)) from error


def open_mlflow(run: TrackedRun) -> MlflowTracker:
    """The tracker of a run; the run in MLflow is made, or the one of the same identity resumed.

    Raises:
        UserError: nothing answers, or it does not take the run.
    """
    assert run.mlflow_uri is not None
    root = start_run(run.mlflow_uri, run.experiment, run.name, dict(run.settings), run.identity, run.say)
    return MlflowTracker(root, run.folder, run.started, run.mlflow_uri, run.name)


def _artifacts(uri: str) -> str | None:
    """Beside a database of our own; MLflow would put them into the working folder of whoever starts the run."""
    path = uri.removeprefix(SQLITE)
    return (Path(path).absolute().parent / "mlartifacts").as_uri() if path != uri else None


def check_server(uri: str, experiment: str) -> None:
    """Ask for the experiment, before any work is done for it; nothing is written.

    Raises:
        UserError: nothing answers at `uri`, or not as MLflow would, or the experiment was deleted.
    """
    uri = check_uri(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return  # it will be made
    with answered(uri):
        check_database(uri, write=True)
        _experiment(MlflowClient(uri), uri, experiment)


def _experiment(client: MlflowClient, uri: str, name: str) -> str | None:
    """Its id; None if it is not there.

    Raises:
        UserError: it was deleted, or the server is none of MLflow.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if not found.experiment_id:
        raise UserError(
            f"MLflow at {redact(uri)}: expected a tracking server, got another kind of server; correct the address"
        )
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow at {redact(uri)}: expected the experiment {name} or none of that name, it was deleted; restore it (mlflow experiments "
            f"restore --experiment-id {found.experiment_id}), or choose another with --experiment NAME"
        )
    return found.experiment_id


def start_run(
    uri: str,
    experiment: str,
    name: str,
    params: dict[str, Any],
    identity: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> MlflowRun:
    """A run in an experiment, which is made if it is not there.

    Args:
        uri: of the tracking server.
        experiment: its name.
        name: of the run.
        params: its settings; a run that is resumed keeps those that it has, for MLflow takes no others.
        identity: a run that was started with the same one is resumed; default: the run is new.
        say: is told that the run of before was deleted.

    Raises:
        UserError: nothing answers at `uri`, it does not take the run, or its files have no place; with the cause.
    """
    uri = check_uri(uri)
    if identity:
        check_name(identity, "run's id")
    with answered(uri):
        check_database(uri, write=True)
        client = MlflowClient(uri)
        experiment_id = _experiment(client, uri, experiment) or client.create_experiment(
            experiment, _artifacts(uri)
        )
        same = f"tags.`{IDENTITY}` = '{identity}'"
        there = client.search_runs([experiment_id], same, max_results=1) if identity else []
        if there:
            run = there[0]
            started = MlflowRun(client, run.info.run_id, experiment_id)
            started.go_on()
        else:
            if identity and client.search_runs([experiment_id], same, ViewType.DELETED_ONLY, max_results=1):
                say(f"MLflow at {redact(uri)}: run {name} was deleted there; a new one is told everything")
            tags = {IDENTITY: identity} if identity else {}
            run = client.create_run(experiment_id, run_name=name, tags=resolve_tags(tags))
            started = MlflowRun(client, run.info.run_id, experiment_id)
        started.params({key: value for key, value in params.items() if key not in run.data.params})
    _check_artifacts(uri, run.info.artifact_uri)
    return started


def _check_artifacts(uri: str, place: str) -> None:
    """Raise UserError if the files of a run go to a folder of this machine that cannot be written."""
    scheme, found, _ = place.partition("://")
    if found and scheme != "file":
        return  # the server's to say, or a bucket's: when there is a file
    folder = Path(url2pathname(urlsplit(place).path) if found else place)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"MLflow at {redact(uri)}: expected to write the files of its runs to {folder}, {there} does not allow it; give the permission, "
            "or choose another --experiment, whose files have another place"
        )
