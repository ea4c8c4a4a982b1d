"""MLflow: one parent run per sweep, one nested run per trial. Only it and registry.py import mlflow.

Only `MlflowClient` with explicit run ids: MLflow's active run is thread-local, and a metric logged from
another thread would open a stray run.
"""

import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from tempembed.errors import UserError
from tempembed.names import check_name
from tempembed.redact import redact
from tempembed.tracking.tracker import numbers

PARENT, IDENTITY = "mlflow.parentRunId", "tempembed.identity"


class MlflowRun:
    """One run in MLflow, by its id."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client, self.run_id, self._experiment_id = client, run_id, experiment_id

    def child(self, name: str, params: dict[str, Any], tags: dict[str, str] | None = None) -> "MlflowRun":
        """The nested run of this name: the one that is there, running again, or a new one."""
        check_name(name, "run")  # it stands in a search filter
        chosen = f"tags.`{PARENT}` = '{self.run_id}' and attributes.run_name = '{name}'"
        if found := self._client.search_runs([self._experiment_id], chosen, max_results=1):
            self._client.update_run(found[0].info.run_id, "RUNNING")
            return MlflowRun(self._client, found[0].info.run_id, self._experiment_id)
        run = self._client.create_run(
            self._experiment_id, run_name=name, tags={PARENT: self.run_id, **(tags or {})}
        )
        child = MlflowRun(self._client, run.info.run_id, self._experiment_id)
        child.params(params)
        return child

    def sibling(self, run_id: str) -> "MlflowRun":
        """Another run of the experiment."""
        return MlflowRun(self._client, run_id, self._experiment_id)

    def last_step(self, key: str) -> int:
        """The newest step of a metric; 0 where it has none."""
        return max((m.step for m in self._client.get_metric_history(self.run_id, key)), default=0)

    def params(self, params: dict[str, Any]) -> None:
        """Settings; a list becomes text, None is left out."""
        entities = [
            mlflow.entities.Param(key, " ".join(map(str, v)) if isinstance(v, list | tuple) else str(v))
            for key, v in params.items()
            if v is not None
        ]
        for start in range(0, len(entities), 100):  # MLflow takes 100 a call
            self._client.log_batch(self.run_id, params=entities[start : start + 100])

    def log(self, metrics: dict[str, Any]) -> None:
        """Metrics of a training step."""
        self.points([(key, value, metrics["step"]) for key, value in numbers(metrics).items()])

    def points(self, points: list[tuple[str, float, int]]) -> None:
        """(key, value, step) in one request per thousand."""
        now = int(time.time() * 1000)
        entities = [Metric(key, value, now, step) for key, value, step in points]
        for start in range(0, len(entities), 1000):
            self._client.log_batch(self.run_id, metrics=entities[start : start + 1000])

    def tag(self, key: str, value: str) -> None:
        """A tag."""
        self._client.set_tag(self.run_id, key, value)

    def file(self, path: Path, folder: str | None = None) -> None:
        """A file as an artifact."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def finish(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


def _artifacts(uri: str) -> str | None:
    """Beside a database of our own; MLflow would put them into the working folder of whoever starts the run."""
    path = uri.removeprefix("sqlite:///")
    return (Path(path).absolute().parent / "mlartifacts").as_uri() if path != uri else None


def start_run(
    uri: str, experiment: str, name: str, params: dict[str, Any], identity: str | None = None
) -> MlflowRun:
    """A run in an experiment, which is made if it is not there.

    Args:
        uri: of the tracking server.
        experiment: its name.
        name: of the run.
        params: its settings.
        identity: a run that was started with the same one goes on; default: the run is new.

    Raises:
        UserError: nothing answers at `uri`.
    """
    client = MlflowClient(uri)
    if identity:
        check_name(identity, "sweep's id")
    try:
        found = client.get_experiment_by_name(experiment)
        experiment_id = (
            found.experiment_id if found else client.create_experiment(experiment, _artifacts(uri))
        )
        same = f"tags.`{IDENTITY}` = '{identity}'"
        if identity and (there := client.search_runs([experiment_id], same, max_results=1)):
            client.update_run(there[0].info.run_id, "RUNNING")
            return MlflowRun(client, there[0].info.run_id, experiment_id)
        run = client.create_run(experiment_id, run_name=name, tags={IDENTITY: identity} if identity else {})
    except MlflowException as error:
        raise UserError(
            f"MLflow at {redact(uri)}: expected a tracking server, got {redact(str(error).splitlines()[0])[:200]}; "
            "start one, or correct MLFLOW_TRACKING_URI"
        ) from error
    started = MlflowRun(client, run.info.run_id, experiment_id)
    started.params(params)
    return started
