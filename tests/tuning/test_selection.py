"""A run with a goal: what it chooses by, and goals that its dev pairs cannot measure."""

import json
from pathlib import Path

import pytest
import torch

from tempembed.commands.train import Train, train_command
from tempembed.encoders.load import load_encoder
from tempembed.evaluation.probe import Probe
from tempembed.run.checkpoint import checkpoints
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tuning.selection import dev_probe
from tests.conftest import make_rows


@pytest.fixture
def settings(data_dir):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"),
        width=64, vocabulary=400, batch_size=32, steps=30, log_every=10, evaluate_every=5, goal="retrieval",
    )  # fmt: skip


def trained(settings: TrainSettings, output: Path, **more) -> dict:
    train_command(Train(output=str(output), train=settings, **more))
    return json.loads((output / "trained.json").read_text())["selection"]


@pytest.mark.parametrize("goal", ["retrieval", "clustering", "bytes-16"])
def test_the_saved_model_is_the_one_that_the_goal_chose(settings, tmp_path, goal):
    settings = with_settings(settings, goal=goal, learning_rate=0.5)  # so much that it gets worse
    told = trained(settings, tmp_path / "one")
    steps = [step for step, _ in told["evaluations"]]
    assert steps == [
        5,
        10,
        15,
        20,
        25,
        30,
    ]  # nothing to compare with before the first step of a table from scratch
    best = max(value for _, value in told["evaluations"])
    assert told["step"] == next(step for step, value in told["evaluations"] if value == best)
    again = dev_probe(prepare(settings), goal)(load_encoder(str(tmp_path / "one")))
    assert again[told["metric"]] == pytest.approx(best, abs=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    curve = {line["step"]: line[told["metric"]] for line in lines if told["metric"] in line}
    assert curve == dict(told["evaluations"])


def test_stopped_and_resumed_it_hands_over_the_same(settings, tmp_path):
    settings = with_settings(settings, learning_rate=0.5, patience=2)
    whole = trained(settings, tmp_path / "whole")
    train_command(Train(output=str(tmp_path / "parts"), train=settings, stop_after=7))
    assert trained(settings, tmp_path / "parts", resume=True) == whole
    models = [load_encoder(str(tmp_path / name)).state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    newest = checkpoints(tmp_path / "whole" / "checkpoints")
    assert whole["trained_steps"] == 30 or len(newest) <= 4


def test_resumed_with_another_goal_it_is_another_run(settings, tmp_path):
    train_command(Train(output=str(tmp_path / "one"), train=settings, stop_after=7))
    for other in ({"goal": "clustering"}, {"evaluate_every": 6}, {"patience": 3}):
        name = next(iter(other))
        with pytest.raises(UserError, match=f"{name}: .* there, .* here"):
            train_command(
                Train(output=str(tmp_path / "one"), train=with_settings(settings, **other), resume=True)
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goal": "recall"}, r"--goal: expected one of retrieval clustering bytes-N, each once, got recall"),
        ({"goal": "bytes-0"}, r"--goal: expected one of"),
        ({"goal": "clustering", "dev_data": "plain.jsonl"}, r"--goal clustering: expected dev pairs with a column label"),
        ({"dev_data": "gone.jsonl"}, r"gone.jsonl"),
        ({"dev_data": "one.jsonl"}, r"one.jsonl: expected at least 2 distinct documents"),
    ],
)  # fmt: skip
def test_a_goal_that_cannot_be_measured_is_one_line_before_training(settings, tmp_path, change, message):
    rows = [{"query": f"asked {i}", "document": f"told {i} times"} for i in range(150)]
    for name, part in (("plain", rows), ("one", rows[:1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    if "dev_data" in change:
        change = {**change, "dev_data": str(tmp_path / change["dev_data"])}
    with pytest.raises(UserError, match=message) as error:
        trained(with_settings(settings, **change), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"patience": 2}, {"evaluate_every": 10}])
def test_what_a_goal_alone_gives_a_meaning_is_refused_without_one(given):
    with pytest.raises(UserError, match="expected --goal, what to measure on the dev pairs, got none"):
        TrainSettings.of(**given)


def test_the_probe_shows_clustering_and_budgets_by_the_oracle_of_its_parts(settings):
    """Retrieval by hand: the mean over queries of 1/log2(rank + 1), as each has one right document here."""
    prepared = prepare(settings)
    encoder = load_encoder_before(settings, prepared)
    probe = Probe(prepared.dev(), [64], ["clustering"])
    found = probe(encoder)
    corpus, queries, documents = prepared.dev()
    q, d = (torch.nn.functional.normalize(encoder.embed(part), dim=1) for part in (queries, documents))
    order = (q @ d.T).argsort(dim=1, descending=True).tolist()
    ranks = [row.index(right[0]) for row, right in zip(order, corpus.relevant, strict=True)]
    want = sum(1 / torch.log2(torch.tensor(rank + 2.0)).item() for rank in ranks if rank < 10) / len(ranks)
    assert found["probe/ndcg_at_10"] == pytest.approx(want, abs=1e-6)
    assert 0 < found["probe/v_measure"] <= 1
    assert (
        found["probe/retention_at_64_bytes"] == found["probe/score_at_64_bytes"] / found["probe/ndcg_at_10"]
    )


def load_encoder_before(settings, prepared):
    from tempembed.stages.initial_encoder import initial_encoder

    return initial_encoder(settings, prepared)


def test_few_dev_queries_are_said(settings, tmp_path, capsys):
    rows = make_rows(40, seed=9)
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained(with_settings(settings, dev_data=str(tmp_path / "dev.jsonl"), steps=5), tmp_path / "out")
    said = capsys.readouterr().err
    assert "goal retrieval: measured on 40 dev queries in 40 documents" in said
    assert "40 dev queries tell large differences only" in said
    assert "this evaluation took" in said
