"""A run with a goal as a worker of Ray does it: the same probe, the same choice, and the verdict of a loaded model."""

import json
from dataclasses import replace

import pytest

from ray_jobs.fit import fit_here
from ray_jobs.prepared import _prepare
from ray_jobs.train_work import TrainAssignment
from tempembed.commands.train import Train, train_command
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tuning.verdict import read_verdict


@pytest.fixture
def settings(data_dir):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"), width=64, vocabulary=400,
        batch_size=32, steps=20, log_every=10, evaluate_every=5, goal="bytes-32", learning_rate=0.3, patience=2,
    )  # fmt: skip


def test_a_worker_chooses_as_the_command_does(settings, tmp_path):
    train_command(Train(output=str(tmp_path / "alone"), train=settings))
    assignment = TrainAssignment(
        settings=settings, prepared=prepare(settings).folder, output=tmp_path / "trial", spool=tmp_path / "spool"
    )  # fmt: skip
    (tmp_path / "trial").mkdir()
    told = []
    fit_here(assignment, tell=told.append)
    alone, trial = (
        json.loads((tmp_path / name / "trained.json").read_text())["selection"] for name in ("alone", "trial")
    )
    assert alone == trial
    evaluated = {report["step"]: report[trial["metric"]] for report in told if trial["metric"] in report}
    assert evaluated == dict(trial["evaluations"])
    weights = [
        next((tmp_path / name).glob("**/model.safetensors")).read_bytes() for name in ("alone", "trial")
    ]
    assert weights[0] == weights[1]


def test_a_worker_leaves_a_verdict_and_tells_it(settings, tmp_path):
    plain = with_settings(settings, goal=None, evaluate_every=0, patience=0, learning_rate=None)
    train_command(Train(output=str(tmp_path / "start"), train=plain))
    tuned = with_settings(plain, encoder=str(tmp_path / "start"), width=None, steps=5)
    (tmp_path / "run").mkdir()
    assignment = TrainAssignment(
        settings=tuned, prepared=prepare(tuned).folder, output=tmp_path / "run", spool=tmp_path / "spool"
    )  # fmt: skip
    fit_here(assignment, tell=lambda report: None)
    found = read_verdict(tmp_path / "run" / "verdict.json")
    assert found is not None
    records = [json.loads(line) for line in (tmp_path / "spool").read_text().splitlines()]
    tags = {record["key"]: record["value"] for record in records if record["kind"] == "tag"}
    assert tags["verdict"] == found.outcome
    points = {key for record in records if record["kind"] == "points" for key, *_ in record["points"]}
    assert {"verdict/retrieval/difference", "verdict/bytes-128/low"} <= points
    fit_here(
        replace(assignment, resume=True), tell=lambda report: None
    )  # there already: measured again, no more
    assert read_verdict(tmp_path / "run" / "verdict.json") == found


@pytest.mark.parametrize(
    ("change", "message"),
    [({"tau": "auto", "objective": "infonce:learned(0.1)"}, "--tau auto: expected temperatures that do not move"), ({"goal": "recall"}, "--goal: expected one of")],
)  # fmt: skip
def test_what_cannot_be_is_one_line_before_training(settings, change, message):
    with pytest.raises(UserError, match=message):
        _prepare(with_settings(settings, **change))
