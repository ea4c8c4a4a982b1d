"""MLflow: one parent run per sweep, one nested run per trial. The only file that imports mlflow.

Only `MlflowClient` with explicit run ids: MLflow's active run is thread-local, and a metric logged from
another thread would open a stray run.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # the default of 7 blocks for four minutes
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from tempembed.errors import UserError
from tempembed.tracking.tracker import numbers

PARENT = "mlflow.parentRunId"


class MlflowRun:
    """One run in MLflow, by its id."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client, self.run_id, self._experiment_id = client, run_id, experiment_id

    def child(self, name: str, params: dict[str, Any], tags: dict[str, str] | None = None) -> "MlflowRun":
        """A nested run."""
        run = self._client.create_run(
            self._experiment_id, run_name=name, tags={PARENT: self.run_id, **(tags or {})}
        )
        child = MlflowRun(self._client, run.info.run_id, self._experiment_id)
        child.params(params)
        return child

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

    def register(self, model: Path, name: str, tags: dict[str, str]) -> str:
        """The model as an artifact in MLflow's sentence-transformers flavour, and a new version of `name`.

        Returns:
            The version.
        """
        import sentence_transformers
        from sentence_transformers import SentenceTransformer

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            mlflow.sentence_transformers.save_model(
                SentenceTransformer(str(model), device="cpu"),
                str(path),
                pip_requirements=[f"sentence-transformers=={sentence_transformers.__version__}"],
            )
            self._client.log_artifacts(self.run_id, str(path), "model")
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(
            name, source=f"runs:/{self.run_id}/model", run_id=self.run_id, tags=tags, await_creation_for=0
        )
        return str(version.version)

    def finish(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


def start_run(uri: str, experiment: str, name: str, params: dict[str, Any]) -> MlflowRun:
    """A new run in an experiment, which is made if it is not there.

    Raises:
        UserError: nothing answers at `uri`.
    """
    client = MlflowClient(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        run = client.create_run(experiment_id, run_name=name)
    except MlflowException as error:
        raise UserError(
            f"MLflow at {uri}: expected a tracking server, got {str(error).splitlines()[0][:200]}; "
            "start one, or correct MLFLOW_TRACKING_URI"
        ) from error
    started = MlflowRun(client, run.info.run_id, experiment_id)
    started.params(params)
    return started
