"""What MLflow 3 has of a run: its data, its source, its model."""

import json

from mlflow import MlflowClient

from tempembed.tracking.delivery import delivery
from tempembed.tracking.mlflow_run import logged_name
from tempembed.tracking.spool import Spool, read_records, replay
from tempembed.tracking.tracker import TrackedDataset, TrackedRun, find_tracker

TRAINING = TrackedDataset(
    context="training", name="p.parquet", source="/data/p.parquet", digest="0123", num_rows=9
)
TEST = TrackedDataset(context="test", name="p.parquet (held out)", source="/data/p.parquet", digest="abcd")
POINTS = [("score_at_128_bytes", 0.5, 0), ("intrinsic_dimension", 30.0, 0)]


def tell(folder, uri):
    """A run with a trial, told to MLflow; the ids of both runs there."""
    spool = Spool(folder / "mlflow.spool")
    run = TrackedRun(name="sweep", folder=folder, settings={"a": 1}, identity="id", mlflow_uri=uri)
    spool.start("", run.settings, {})
    for name in ("", "infonce-0.05"):
        if name:
            spool.start(name, {"seed": 3}, {})
        spool.run(name).datasets([TRAINING, TEST])
        spool.run(name).model({"objective": "infonce:0.05"}, POINTS)
        spool.finish(name)
    with delivery(spool, run, ["mlflow"]):
        pass
    return run, spool


def found(uri):
    """The runs by name, as MLflow has them."""
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("tempembed").experiment_id])
    return client, {run.info.run_name: run for run in runs}


def test_dataset_source_and_model_are_there_once_however_often_they_are_told(mlflow_uri, tmp_path):
    run, spool = tell(tmp_path, mlflow_uri)
    tracker = find_tracker("mlflow")(run)
    for record, _ in read_records(spool.path, 0):  # a courier that died told all of this again
        replay(record, tracker)
    client, runs = found(mlflow_uri)
    assert runs.keys() == {"sweep", "infonce-0.05"}
    for name, there in runs.items():
        inputs = {
            (one.tags[0].value, one.dataset.name, one.dataset.digest) for one in there.inputs.dataset_inputs
        }
        assert inputs == {("training", "p.parquet", "0123"), ("test", "p.parquet (held out)", "abcd")}
        assert len(there.inputs.dataset_inputs) == 2
        assert json.loads(there.inputs.dataset_inputs[0].dataset.source)["uri"] == "/data/p.parquet"
        assert there.data.tags["mlflow.source.name"]
        (output,) = there.outputs.model_outputs
        model = client.get_logged_model(output.model_id)
        assert (model.name, model.status) == (logged_name(name or "sweep"), "READY")
        assert model.params == {"objective": "infonce:0.05"}
        assert {metric.key: metric.value for metric in model.metrics} == {
            "score_at_128_bytes": 0.5, "intrinsic_dimension": 30.0,
        }  # fmt: skip
        assert {metric.dataset_digest for metric in model.metrics} == {"abcd"}
        assert there.data.metrics["score_at_128_bytes"] == 0.5
    experiment = runs["sweep"].info.experiment_id
    assert len(client.search_logged_models([experiment])) == 2
    best = client.search_logged_models([experiment], "metrics.score_at_128_bytes > 0.4")
    assert len(best) == 2


def test_a_damaged_record_of_data_or_of_a_model_is_left_out(tmp_path):
    path = tmp_path / "mlflow.spool"
    good = {
        "run": "",
        "time": 1,
        "kind": "dataset",
        "context": "test",
        "name": "n",
        "source": "s",
        "digest": "d",
    }
    model = {"run": "", "time": 1, "kind": "model", "facts": {"a": "b"}, "points": [["k", 1.0, 0]]}
    records = [
        good, {**good, "num_rows": 3}, {**good, "num_rows": -1}, {**good, "digest": 3}, {**good, "context": "x"},
        model, {**model, "facts": {"a": 1}}, {**model, "points": [["k"]]}, {**model, "facts": None},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [record for record, _ in read_records(path, 0)] == [records[0], records[1], records[5]]
