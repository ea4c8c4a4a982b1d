"""Pairs in both orders, from the command line to the report: nothing is its own negative, nor its own answer."""

import json
import math
import random

import pyarrow.parquet as pq
import pytest

from tempembed.data.split import normalise
from tests import commands


def tempembed(*arguments):
    done = commands.tempembed(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def write(path, num, seed):
    """Two texts of the same words in another order, and a name each; both orders of the pair."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(300)]
    pairs = []
    for i in range(num):
        chosen = rng.sample(words, 8)
        pairs.append((" ".join(chosen) + f" left{i}", " ".join(reversed(chosen)) + f" right{i}"))
    rows = [{"query": a, "document": b} for a, b in pairs] + [{"query": b, "document": a} for a, b in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    write(folder / "train.jsonl", 100, seed=0)
    write(folder / "test.jsonl", 60, seed=1)
    done = tempembed(
        "train", "--data", folder / "train.jsonl", "--eval-data", folder / "test.jsonl", "--objective", "infonce:0.05",
        "--width", 64, "--vocabulary", 600, "--batch-size", 200, "--steps", 40, "--log-every", 10, "--output", folder / "run",
    )  # fmt: skip
    metrics = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return folder, done.stderr, metrics


def test_the_loss_falls_far_below_the_log_of_two_and_masks_are_counted(trained):
    """All rows in one batch: each has its own text among the candidates once."""
    metrics = trained[2]
    assert metrics[-1]["train/loss"] < 0.15 < math.log(2)
    assert [m["train/masked_negatives_per_step"] for m in metrics] == [200] * 4
    assert [m["train/repeats_per_epoch"] for m in metrics] == [100] * 4


def test_the_search_does_not_find_the_query_itself(trained):
    folder, said, _ = trained
    report = json.loads((folder / "run" / "evaluation.json").read_text())
    full = next(row for row in report["scores"] if row["spec"] == "prefix:64+float32")
    assert full["score"] > 0.95
    assert report["data"]["tasks"]["retrieval"]["num_own_texts"] == 120
    assert said.count("each left out of its own ranking: 120 of retrieval") == 1


def test_evaluate_and_mtebs_own_run_agree(trained):
    folder, *_ = trained
    output = folder / "report.json"
    tempembed(
        "evaluate", folder / "run", "--data", folder / "test.jsonl", "--codecs", "binary", "--output", output
    )
    report = json.loads(output.read_text())
    full = next(row for row in report["scores"] if row["spec"] == "prefix:64+float32")
    assert full["score"] > 0.95
    assert report["mteb"]["retrieval"] == pytest.approx(full["score"], abs=1e-4)


def test_a_task_folder_of_the_same_texts_gives_the_same_score(trained):
    folder, *_ = trained
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    texts = list(dict.fromkeys(row["document"] for row in rows))
    number = {text: i for i, text in enumerate(texts)}
    task = folder / "task"
    task.mkdir()
    corpus = [{"_id": f"d{i:03d}", "text": text} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(rows)]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    qrels = [f"q{i}\td{number[row['document']]:03d}\t1" for i, row in enumerate(rows)]
    (task / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]))
    output = folder / "folder.json"
    done = tempembed(
        "evaluate", folder / "run", "--task-folder", task, "--codecs", "binary", "--output", output
    )
    report = json.loads(output.read_text())
    full = next(row for row in report["scores"] if row["spec"] == "prefix:64+float32")
    there = json.loads((folder / "run" / "evaluation.json").read_text())
    want = next(row for row in there["scores"] if row["spec"] == "prefix:64+float32")
    assert full["score"] == pytest.approx(want["score"], abs=1e-6)
    assert report["mteb"]["task"] == pytest.approx(full["score"], abs=1e-4)
    assert "120 of task" in done.stderr


def test_no_held_out_text_is_in_training(trained, tmp_path, monkeypatch):
    folder, *_ = trained
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    tempembed(
        "train", "--data", folder / "train.jsonl", "--hold-out", 0.2, "--objective", "infonce:0.05", "--width", 64,
        "--vocabulary", 600, "--batch-size", 32, "--steps", 20, "--output", tmp_path / "run",
    )  # fmt: skip
    (prepared,) = (tmp_path / "cache" / "prepared").iterdir()
    queries, documents, *_ = json.loads((prepared / "task.json").read_text())
    held = {normalise(text) for text in [*queries, *documents]}
    assert len(held) == 40
    mixed = [row for row in rows if len({normalise(row["query"]), normalise(row["document"])} & held) == 1]
    assert not mixed
    assert json.loads((prepared / "meta.json").read_text())["num_pairs"] == 160
    scores = pq.read_table(tmp_path / "run" / "evaluation.parquet").to_pylist()
    assert max(row["score"] for row in scores) > 0.95
