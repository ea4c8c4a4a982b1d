"""The verdict of real runs: better, worse for one reason each, and what is told of it."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.commands.train import Train, train_command
from tempembed.evaluation.compare import paired_differences
from tempembed.evaluation.report_files import load_evaluation
from tempembed.evaluation.store import EmbeddingStore
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare_with_encoder
from tempembed.tuning.judge import start_of
from tempembed.tuning.verdict import Verdict, read_verdict
from tests.bits import pairs


@pytest.fixture(scope="module")
def put(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdict")

    def put(name: str, table: pa.Table) -> str:
        pq.write_table(table.drop_columns("label"), folder / name)
        return str(folder / name)

    return put


@pytest.fixture(scope="module")
def start(put) -> TrainSettings:
    """A table that learned to tell topics, as a run would go on with it."""
    folder = Path(put("train.parquet", pairs(1, 1600))).parent
    base = TrainSettings.of(
        data=str(folder / "train.parquet"), eval_data=put("test.parquet", pairs(2, 300)), allow_overlap=True,
        width=64, vocabulary=600, batch_size=64, steps=100, log_every=50,
    )  # fmt: skip
    train_command(Train(output=str(folder / "start"), train=base))
    assert read_verdict(folder / "start" / "verdict.json") is None  # made here: there is no start
    return with_settings(base, encoder=str(folder / "start"), width=None, steps=40, log_every=20)


def verdict(settings: TrainSettings, output: Path) -> Verdict:
    train_command(Train(output=str(output), train=settings))
    found = read_verdict(output / "verdict.json")
    assert found is not None
    return found


def shuffled(put) -> dict:
    table = pairs(1, 1600)
    documents = table["document"].to_pylist()
    random.Random(0).shuffle(documents)
    return {"data": put("shuffled.parquet", table.set_column(1, "document", pa.array(documents))), "learning_rate": 0.05}  # fmt: skip


RUINED = {
    "learning rate": lambda put: {"learning_rate": 10.0},
    "pairs": shuffled,
    "temperature": lambda put: {"objective": "infonce:0.002", "learning_rate": 0.05},
    "too few pairs": lambda put: {
        "data": put("few.parquet", pairs(5, 64)),
        "steps": 150,
        "learning_rate": 0.03,
    },
    "token limit": lambda put: {"max_document_tokens": 3, "learning_rate": 0.03},
}


@pytest.mark.parametrize("name", RUINED)
def test_a_run_that_is_ruined_in_one_way_is_told_that_way(start, put, tmp_path, name):
    found = verdict(with_settings(start, **RUINED[name](put)), tmp_path / "one")
    assert found.outcome == "worse"
    assert [cause.name for cause in found.causes] == [name]
    assert found.lines()[0].startswith("worse than the start: nDCG@10 0.")
    assert found.lines()[2].startswith("likely cause: ")


def test_prompts_that_are_not_the_models_own(start, tmp_path):
    """A prompt of fifty strange words drowns each query; by its own prompts the start is better."""
    prompt = " ".join(["bal dam fel gin kor"] * 10) + " "
    settings = with_settings(start, query_prompt=prompt, learning_rate=1e-6)
    found = verdict(settings, tmp_path / "one")
    assert found.outcome != "better"
    from tempembed.stages.prepare import prepare
    from tempembed.stages.prepared import Prepared
    from tempembed.tuning.causes import causes
    from tempembed.tuning.evidence import gather_evidence

    prepared: Prepared = prepare(settings)
    evidence = gather_evidence(
        settings, prepared, prepared.evaluation(), tmp_path / "one", steps=40, masked_per_step=0.0
    )
    assert evidence.own_prompts[1] > 0.1
    assert "prompts" in [cause.name for cause in causes(evidence)]


def test_a_good_run_and_all_that_is_told_of_it(start, tmp_path, monkeypatch, capsys):
    settings = with_settings(start, learning_rate=0.003, steps=60, goal="bytes-32")
    found = verdict(settings, tmp_path / "one")
    assert not found.causes
    said = capsys.readouterr().err
    assert all(line in said for line in found.lines())
    goals = [each.goal for each in found.comparisons]
    assert goals[0] == found.goal == "bytes-32"
    assert {"retrieval", "bytes-128", "bytes-512"} < set(goals)
    # the same interval as `tempembed compare` has, of the same two reports
    prepared, encoder = prepare_with_encoder(settings)
    monkeypatch.setattr(EmbeddingStore, "embed", lambda *_: pytest.fail("the start was encoded twice"))
    before = start_of(settings, prepared, encoder, print)
    differences = paired_differences(before, load_evaluation(tmp_path / "one" / "evaluation.json"))
    full = next(each for each in differences if each.first.spec == "prefix:64" or (each.first.codec == "float32" and each.first.dim == 64))  # fmt: skip
    retrieval = next(each for each in found.comparisons if each.goal == "retrieval")
    assert retrieval.ci == pytest.approx(full.ci, abs=1e-6)
    assert retrieval.difference == pytest.approx(full.score, abs=1e-9)
    told = json.loads((tmp_path / "one" / "trained.json").read_text())["selection"]
    assert next(step for step, _ in told["evaluations"]) == 0  # the start, for comparison
    assert found.step == told["step"] > 0
    assert f"the model of step {found.step} of 60" in found.model
    page = (tmp_path / "one" / "evaluation.html").read_text()
    assert "Better than before training?" in page
    assert page.count(f">{retrieval.start:.4f}<") or f"nDCG@10 {retrieval.start:.4f}" in page
    tags, points = found.tags(), {key: value for key, value, _ in found.points()}
    assert tags["verdict"] == found.outcome
    assert points["verdict/retrieval/difference"] == retrieval.difference


def test_without_data_to_measure_on_it_says_so(start, tmp_path, capsys):
    settings = with_settings(start, eval_data=None, steps=2)
    train_command(Train(output=str(tmp_path / "one"), train=settings))
    assert "no verdict at the end: no test and no dev pairs" in capsys.readouterr().err
    assert not (tmp_path / "one" / "verdict.json").exists()
    on_dev = verdict(with_settings(settings, goal="retrieval"), tmp_path / "two")
    assert on_dev.data == "dev"
    assert "measured on the dev pairs, by which it was chosen" in on_dev.lines()[1]
    quiet = with_settings(start, verdict=False, steps=2)
    train_command(Train(output=str(tmp_path / "three"), train=quiet))
    assert not (tmp_path / "three" / "verdict.json").exists()
