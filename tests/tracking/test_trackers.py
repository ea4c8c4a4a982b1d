"""Which trackers a run has, and TensorBoard's files."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from tempembed.system.errors import UserError
from tempembed.tracking.delivery import delivery
from tempembed.tracking.settings import TrackingSettings
from tempembed.tracking.spool import Spool
from tempembed.tracking.tracker import TrackedRun


def events(folder):
    """(tag, step, value, wall time) of the scalars in a folder, and the names of its texts."""
    scalars, texts = [], set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.append((value.tag, event.step, value.simple_value, event.wall_time))
                else:
                    texts.add(value.tag)
    return scalars, texts


def test_tensorboard_has_a_folder_for_each_run_and_each_step_once(tmp_path):
    spool = Spool(tmp_path / "mlflow.spool")
    run = TrackedRun(name="sweep", folder=tmp_path, settings={}, identity="id")
    for steps in ((1, 2, 3), (2, 3, 4)):  # the second time as a run that was resumed
        with delivery(spool, run, ["tensorboard"]):
            trial = spool.run().child("one", {"seed": 3}, {"kind": "x"})
            for step in steps:
                spool.log("one", {"step": step, "train/loss": 1 / step, "epoch": 0.5})
            trial.points([("retention", 0.5, 64)])
            trial.tag("outcome", "FINISHED")
            spool.run().points([("best", 1.0, 0)])
    scalars, texts = events(tmp_path / "tensorboard" / "one")
    assert [(tag, step) for tag, step, _, _ in scalars if tag == "train/loss"] == [("train/loss", n) for n in (1, 2, 3, 4)]  # fmt: skip
    assert [(step, value) for tag, step, value, _ in scalars if tag == "retention"] == [(64, 0.5)]
    assert "epoch" not in {tag for tag, _, _, _ in scalars}
    assert len(texts) == 2
    assert [scalar[:3] for scalar in events(tmp_path / "tensorboard")[0]] == [("best", 0, 1.0)]


def test_the_trackers_of_a_run(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert TrackingSettings().resolved().trackers == ()
    assert TrackingSettings().resolved(uri).trackers == ("mlflow",)
    assert TrackingSettings(mlflow_uri=uri).resolved().trackers == ("mlflow",)
    assert TrackingSettings(trackers=("tensorboard",)).resolved(uri).trackers == ("tensorboard",)
    both = TrackingSettings(trackers=("tensorboard", "mlflow", "tensorboard")).resolved(uri)
    assert (both.trackers, both.mlflow_uri) == (("tensorboard", "mlflow"), uri)
    with pytest.raises(
        UserError, match="--trackers mlflow: expected --mlflow-uri or MLFLOW_TRACKING_URI, got neither"
    ):
        TrackingSettings(trackers=("mlflow",)).resolved()
    with pytest.raises(UserError, match="--experiment"):
        TrackingSettings(experiment="a/b")
