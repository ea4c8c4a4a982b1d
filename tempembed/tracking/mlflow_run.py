"""One run in MLflow, by its id: its settings, metrics, files, data and model.

Only `MlflowClient` with explicit run ids: MLflow's active run is thread-local, and a metric logged from
another thread would open a stray run.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric
from mlflow.tracking.context.registry import resolve_tags  # who runs what: user, command, git's commit

from tempembed.system.names import check_name
from tempembed.tracking.tracker import Point, TrackedDataset

PARENT, CONTEXT = "mlflow.parentRunId", "mlflow.data.context"


class MlflowRun:
    """One run in MLflow, by its id."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client, self.run_id, self._experiment_id = client, run_id, experiment_id

    def child(self, name: str, params: dict[str, Any], tags: dict[str, str] | None = None) -> "MlflowRun":
        """The nested run of this name: the one that is there, running again, with the settings that it has, or a new one."""
        run = self._named(name)
        if run:
            self._client.update_run(run.info.run_id, "RUNNING")
        else:
            tags = {PARENT: self.run_id, **(tags or {})}
            run = self._client.create_run(self._experiment_id, run_name=name, tags=resolve_tags(tags))
        child = MlflowRun(self._client, run.info.run_id, self._experiment_id)
        child.params({key: value for key, value in params.items() if key not in run.data.params})
        return child

    def find(self, name: str) -> "MlflowRun | None":
        """The nested run of this name, as it is."""
        run = self._named(name)
        return MlflowRun(self._client, run.info.run_id, self._experiment_id) if run else None

    def _named(self, name: str) -> mlflow.entities.Run | None:
        check_name(name, "run")  # it stands in a search filter
        chosen = f"tags.`{PARENT}` = '{self.run_id}' and attributes.run_name = '{name}'"
        found = self._client.search_runs([self._experiment_id], chosen, max_results=1)
        return found[0] if found else None

    def params(self, params: dict[str, Any]) -> None:
        """Settings; a list becomes text, None is left out."""
        entities = [
            mlflow.entities.Param(key, " ".join(map(str, v)) if isinstance(v, list | tuple) else str(v))
            for key, v in params.items()
            if v is not None
        ]
        for start in range(0, len(entities), 100):  # MLflow takes 100 a call
            self._client.log_batch(self.run_id, params=entities[start : start + 100])

    def points(self, points: Sequence[Point], milliseconds: int | None = None, **of: Any) -> None:
        """Points in one request per thousand; told twice with one time, MLflow keeps them once.

        Args:
            points: of the run.
            milliseconds: since 1970, when they were measured; default: now.
            of: `model_id`, `dataset_name` and `dataset_digest` of the model that they are of too, and of its test.
        """
        now = milliseconds or int(time.time() * 1000)
        entities = [Metric(key, value, now, step, **of) for key, value, step in points]
        for start in range(0, len(entities), 1000):
            self._client.log_batch(self.run_id, metrics=entities[start : start + 1000])

    def tag(self, key: str, value: str) -> None:
        """A tag."""
        self._client.set_tag(self.run_id, key, value)

    def file(self, path: Path, folder: str | None = None) -> None:
        """A file as an artifact."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def dataset(self, dataset: TrackedDataset) -> None:
        """An input; told twice, MLflow keeps it once."""
        is_local = os.path.isabs(dataset.source)
        found = Dataset(
            dataset.name[:500], dataset.digest[:36], "local" if is_local else "named",
            json.dumps({"uri" if is_local else "name": dataset.source}),
            profile=json.dumps({"num_rows": dataset.num_rows}) if dataset.num_rows is not None else None,
        )  # fmt: skip
        context = InputTag(CONTEXT, dataset.context)
        self._client.log_inputs(self.run_id, [DatasetInput(found, [context])])

    def model_points(
        self, name: str, facts: Mapping[str, str], points: Sequence[Point], milliseconds: int | None = None
    ) -> None:
        """Points of the run's LoggedModel, on the run's test."""
        of = {"model_id": self.logged_model(name, facts)}
        inputs = self._client.get_run(self.run_id).inputs
        for one in inputs.dataset_inputs if inputs else ():
            if any(tag.key == CONTEXT and tag.value == "test" for tag in one.tags):
                of |= {"dataset_name": one.dataset.name, "dataset_digest": one.dataset.digest}
        self.points(points, milliseconds, **of)

    def logged_model(self, name: str, facts: Mapping[str, str]) -> str:
        """The id of the run's LoggedModel: the one that is there, or a new one without files."""
        outputs = self._client.get_run(self.run_id).outputs
        if outputs and outputs.model_outputs:
            return outputs.model_outputs[0].model_id
        same = f"source_run_id = '{self.run_id}'"  # of one who died before the run had it as its output
        if found := self._client.search_logged_models([self._experiment_id], same, max_results=1):
            model = found[0]
        else:
            model = self._client.create_logged_model(
                self._experiment_id, name=logged_name(name), source_run_id=self.run_id,
                params=dict(facts), model_type="embedding",
            )  # fmt: skip
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        return model.model_id

    def go_on(self) -> None:
        """It is running again."""
        self._client.update_run(self.run_id, "RUNNING")

    def finish(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


def logged_name(run: str) -> str:
    """What the LoggedModel of a run is called: MLflow takes no slash, colon, point, per cent or quote in it.

    >>> logged_name("infonce:0.06")
    'infonce-0-06'
    """
    return re.sub(r"[/:.%\"']", "-", run) or "model"
