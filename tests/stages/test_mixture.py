"""Training on a mixture: what is drawn, the loss and the score of each source, and the same bits after a stop."""

import json
import random

import pytest
import torch

from tempembed.evaluation.report import read_report
from tempembed.evaluation.trained import evaluate_trained
from tempembed.parallel.pool import run_on_ranks
from tempembed.reports.report_text import source_lines
from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage, train_pairs
from tempembed.stages.identity import Facts, run_identity
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tracking.points import evaluation_points
from tests.runs import run, weights


def write(path, num, seed, **more):
    chance = random.Random(seed)
    words = [a + b + c for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]
    rows = [
        {"query": f"{path.stem} q{i} {chance.choice(words)}", "document": " ".join(chance.choices(words, k=9)) + f" d{i}",
         **{name: value(i) for name, value in more.items()}}
        for i in range(num)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    write(folder / "easy.jsonl", 200, 1, negative=lambda i: f"wrong {i}")
    write(folder / "hard.jsonl", 80, 2)
    write(folder / "test-a.jsonl", 20, 3)
    write(folder / "test-b.jsonl", 30, 4)
    return TrainSettings.of(
        data=[f"{folder}/easy.jsonl:1", f"{folder}/hard.jsonl:3"], eval_data=[f"{folder}/test-a.jsonl", f"{folder}/test-b.jsonl"],
        objective="mrl:0.06", width=32, vocabulary=300, batch_size=32, steps=14, log_every=2, checkpoint_every=5,
    )  # fmt: skip


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_batches_follow_the_weights_and_losses_are_told_by_source(settings, tmp_path):
    stage = ContrastiveStage(settings, prepare(settings))
    names = stage.data.source_names
    assert names == ["easy.jsonl", "hard.jsonl"]
    for step in range(10):
        batch = stage.batch(step, stage.plan.rows(step))
        assert torch.bincount(batch.sources_B).tolist() == [8, 24]
    reports = run(changed(settings, log_every=1, steps=3), tmp_path / "run")
    for report in reports:
        parts = [report[f"train/loss/source/{name}"] for name in ("easy", "hard")]
        assert (8 * parts[0] + 24 * parts[1]) / 32 == pytest.approx(report["train/loss"], abs=1e-5)
        assert parts[0] != pytest.approx(parts[1], abs=1e-3)


def test_single_source_batches_are_drawn_by_weight(settings):
    stage = ContrastiveStage(changed(settings, single_source=True), prepare(settings))
    firsts = [stage.batch(step, stage.plan.rows(step)).sources_B for step in range(16)]
    assert all(len(set(found.tolist())) == 1 for found in firsts)
    assert abs(sum(int(found[0]) for found in firsts) - 12) <= 1


def test_a_mixture_goes_on_to_the_same_bits_and_not_with_other_weights(settings, tmp_path):
    run(settings, tmp_path / "whole")
    assert not run(settings, tmp_path / "part", stop_after=7)[-1].get("stopping")
    data = settings.data.data
    twice = [text.rpartition(":")[0] + weight for text, weight in zip(data, (":2", ":6"), strict=True)]
    other = [data[0], data[1].replace(":3", ":2")]
    with pytest.raises(UserError, match=r"weights of --data: 0\.25 0\.75 there, 0\.333\S+ 0\.666\S+ here"):
        run(changed(settings, data=other), tmp_path / "part", resume=True)
    run(changed(settings, data=twice), tmp_path / "part", resume=True)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "part"))


def test_weights_are_part_of_the_identity_and_their_scale_is_not(settings):
    prepared = prepare(settings)
    facts = Facts.of(prepared, settings, initial_encoder(settings, prepared))
    places = [text.rpartition(":")[0] for text in settings.data.data]

    def identity(*weights):
        data = [f"{place}{weight}" for place, weight in zip(places, weights, strict=True)]
        return run_identity(changed(settings, data=data), facts)

    assert identity(":1", ":3") == identity(":2", ":6") != identity(":1", ":1")
    assert identity("", "")["shares"] == []
    assert identity("", "") != identity(":1", ":3")


def by_source_on_ranks(folder, stored):
    settings = TrainSettings.from_dict(stored)
    reports = []
    train_pairs(settings, prepare(settings), folder, reports.append)
    return reports[-1]


@pytest.mark.gloo
def test_two_ranks_tell_the_losses_of_one(settings, tmp_path):
    short = changed(settings, steps=2)
    (one,) = run(short, tmp_path / "one")
    (tmp_path / "two").mkdir()
    two = run_on_ranks(2, by_source_on_ranks, tmp_path / "two", short.to_dict())
    for found in two:
        for name in ("easy", "hard"):
            key = f"train/loss/source/{name}"
            assert found[key] == pytest.approx(one[key], abs=1e-5)


def test_the_score_of_each_source(settings, tmp_path):
    run(changed(settings, steps=3), tmp_path / "run")
    test = prepare(settings).evaluation()
    corpus = test[0]
    assert [corpus.source_names[number] for number in corpus.sources] == ["test-a.jsonl"] * 20 + ["test-b.jsonl"] * 30  # fmt: skip
    report = evaluate_trained(tmp_path / "run", test)
    for row in report.scores:
        if row.kind == "retrieval":
            parts = [part for part in report.by_source if (part.task, part.spec) == (row.task, row.spec)]
            assert [(part.source, part.num_items) for part in parts] == [("test-a", 20), ("test-b", 30)]
            assert sum(part.score * part.num_items for part in parts) / 50 == pytest.approx(row.score)
            assert all(part.ci_low <= part.score <= part.ci_high for part in parts)
    assert read_report(tmp_path / "run" / "evaluation.json").by_source == report.by_source
    names = {name for name, _, _ in evaluation_points(report)}
    assert {"eval/ndcg_at_10/source/test-a", "eval/ndcg_at_10/source/test-b"} <= names
    assert len(source_lines(report)) == 2


def test_a_hold_out_knows_its_sources(settings):
    prepared = prepare(changed(settings, eval_data=None, hold_out=0.2))
    corpus = prepared.evaluation()[0]
    assert set(corpus.sources) == {0, 1}
    assert sum(prepared.sizes) + len(corpus.queries) == 280


def test_what_cannot_be_mixed_is_one_line(settings):
    places = [text.rpartition(":")[0] for text in settings.data.data]
    with pytest.raises(UserError, match="expected weights that sum to more than 0") as error:
        prepare(changed(settings, data=[f"{place}:0" for place in places]))
    assert "\n" not in str(error.value)
    alone = prepare(changed(settings, data=[f"{places[0]}:0", f"{places[1]}:1"]))
    assert alone.meta["num_pairs"] == 80
    assert alone.sources is None
