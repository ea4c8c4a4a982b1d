"""The commands as functions, as a notebook calls them."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer
from sklearn.metrics.pairwise import cosine_similarity

import tempembed as te_top
import tempembed.api as te
from tempembed.system.errors import UserError

SMALL = {"width": 32, "vocabulary": 400, "batch_size": 32, "steps": 20, "objective": "mrl:0.06"}


@pytest.fixture(scope="module")
def model(data_dir, tmp_path_factory):
    return te.train(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"), **SMALL,
        output=tmp_path_factory.mktemp("api") / "run",
    )  # fmt: skip


def test_train_gives_the_model_and_what_was_measured(model):
    assert SentenceTransformer(str(model.folder)).encode_query(["open"]).shape == (1, 32)
    assert model.encoder().width == 32
    assert model.report.width == 32
    assert 0 < model.report.geometry["pca95"] <= 32
    assert {row.codec for row in model.report.scores} > {"float32", "binary"}


def test_evaluate_gives_a_report_and_leaves_no_files(model, data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = te.evaluate(model.folder, data=str(data_dir / "test.parquet"), codecs=("prefix:16+int8",))
    (row,) = (row for row in report.scores if row.spec == "prefix:16+int8" and row.kind == "retrieval")
    assert row.bytes_per_vector == 16
    assert 0 < row.score <= 1
    assert not list(tmp_path.iterdir())


def test_export_gives_a_folder(model, data_dir, tmp_path):
    test = str(data_dir / "test.parquet")
    folder = te.export(model.folder, codec="prefix:16+int8", data=test, output=tmp_path / "out")
    assert (folder / "README.md").exists()
    assert SentenceTransformer(str(folder)).encode_document(["open"]).shape == (1, 16)


def test_several_sources_have_a_score_each(model, data_dir, tmp_path):
    rows = pq.read_table(data_dir / "test.parquet")
    halves = [rows.slice(0, len(rows) // 2), rows.slice(len(rows) // 2).to_pylist()]
    whole = te.evaluate(model, rows, codecs=("float32",), quiet=True)
    parts = te.evaluate(model, halves, codecs=("float32",), quiet=True)
    (score,) = (row.score for row in parts.scores if row.kind == "retrieval")
    assert score == pytest.approx(next(row.score for row in whole.scores if row.kind == "retrieval"))
    own = [row for row in parts.by_source if row.task == "retrieval"]
    assert sum(row.score * row.num_items for row in own) / len(rows) == pytest.approx(score)
    assert len(own) == 2
    assert te.codecs(model, halves, bytes=16, quiet=True).best.best.bytes_per_vector <= 16
    folder = te.export(model, codec="pca:16+int8", data=halves, output=tmp_path / "out")
    assert "data-1" in (folder / "README.md").read_text()
    with pytest.raises(UserError, match="all 120 are copies"):
        te.evaluate(model, [rows, rows], quiet=True)


def test_what_is_wrong_is_an_error_of_ours(model, data_dir, tmp_path):
    with pytest.raises(UserError, match="--batch-size: expected at least 2"):
        te.train(data=str(data_dir / "train.parquet"), batch_size=1, output=tmp_path / "run")
    with pytest.raises(UserError, match="expected a new or empty folder"):
        te.train(data=str(data_dir / "train.parquet"), **SMALL, output=model.folder)
    with pytest.raises(TypeError, match=r"expected settings of TrainSettings, got \['colour'\]"):
        te.train(data="x", colour="red", output=tmp_path / "run")


def test_in_a_thread_it_trains_too(data_dir, tmp_path):
    """Of a notebook's server or a job of a queue: signals are the main thread's."""
    found = []

    def work():
        found.append(te.train(data=str(data_dir / "train.parquet"), **SMALL, output=tmp_path / "run"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].report is None


PAIRS = [{"query": f"open file {i} {chr(97 + i % 7)}", "document": f"def read_{i}(path): return open(path, {i}) {chr(97 + i % 7)}"} for i in range(200)]  # fmt: skip
TINY = {"width": 32, "vocabulary": 300, "batch_size": 32, "steps": 10, "objective": "mrl:0.06"}


def test_the_top_level_is_lazy_and_rooms_may_be_called():
    code = (
        "import sys, time; began = time.process_time(); import tempembed as te; took = time.process_time() - began;"
        "assert not {'torch', 'numpy'} & sys.modules.keys(); assert 'train' in dir(te);"
        "import tempembed.codecs.spec; assert callable(te.codecs) and callable(te.export) and callable(te.train);"
        "assert te.codecs.spec.Spec; print(took)"
    )
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True, check=True)  # fmt: skip
    assert float(done.stdout) < 0.2
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        te_top.colour  # noqa: B018


def test_ten_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = te_top.train(PAIRS, hold_out=0.2, quiet=True, **TINY)
    assert run.folder.parent == Path("runs")
    assert run.folder.name.startswith("mrl-0.06-")
    assert capsys.readouterr().err == ""
    assert run.verdict is None  # made here: there is no start
    further = te_top.train(
        PAIRS,
        encoder=run,
        hold_out=0.2,
        quiet=True,
        batch_size=32,
        steps=3,
        objective="mrl:0.06",
        output="on",
    )
    assert repr(further).splitlines()[1] == further.verdict.lines()[0]
    other = te_top.train(
        PAIRS, hold_out=0.2, quiet=True, config=run.folder / "run.yaml", seed=1, output="runs/other"
    )
    test = pd.DataFrame(PAIRS[150:])
    report = te_top.evaluate(run, test, codecs=("prefix:16+int8",), quiet=True)
    chosen = te_top.codecs(run, test, bytes=16, quiet=True)
    compared = te_top.compare(run, other)
    found = te_top.search(run, ["open file 3 d"], [row["document"] for row in PAIRS], quiet=True)
    model = te_top.export(run, codec="prefix:16+int8", output="model")
    again = te_top.search(
        model, "open file 3 d", [row["document"] for row in PAIRS], index="kept", quiet=True
    )
    assert te_top.search(model, "open file 3 d", index="kept", quiet=True).hits == again.hits
    assert [len(hits) for hits in (*found, *again)] == [5, 5]
    encoder = run.encoder()
    query, documents = (
        encoder.embed(encoder.prepare(texts, encoder.role(role)))
        for texts, role in ((["open file 3 d"], "query"), ([row["document"] for row in PAIRS], "document"))
    )
    assert found[0][0].row == int(cosine_similarity(query, documents)[0].argmax())
    assert chosen.best.best.bytes_per_vector <= 16
    full = [model.report.find("ndcg_at_10", "binary", 32).score for model in (run, other)]
    assert any(
        row.score == pytest.approx(full[1] - full[0]) for row in compared if row.first.codec == "binary"
    )
    for value, words in (
        (run, ("model: runs/mrl", "retrieval", "float32")), (report, ("prefix:16+int8", "32 coordinates")),
        (chosen, ("16", "best codec")), (compared, ("compared with", "difference")), (found, ("rank", "def read_")),
    ):  # fmt: skip
        assert all(word in repr(value) for word in words), repr(value)
        page = value._repr_html_()
        ElementTree.fromstring(page.replace("class=wide", 'class="wide"').replace("class=text", 'class="text"').replace("class=note", 'class="note"').replace("<br>", "<br/>"))  # fmt: skip
        assert "<table>" in page


def test_mine_gives_negatives_that_train_takes(model, tmp_path):
    mined = te_top.mine(model, PAIRS, output=tmp_path / "mined.parquet", num_negatives=2, quiet=True)
    rows = pq.read_table(mined.output).to_pylist()
    answers = {(row["query"], row["document"]) for row in PAIRS}
    taken = [(row["query"], text) for row in rows for text in row["hard_negatives"]]
    assert taken
    assert not answers & set(taken)
    run = te_top.train(mined.output, output=tmp_path / "run", quiet=True, **TINY)
    assert SentenceTransformer(str(run.folder)).encode_query(["open"]).shape == (1, TINY["width"])


def test_encode_leaves_shards_that_a_second_call_finds(model, tmp_path):
    texts = [pair["document"] for pair in PAIRS]
    options = {"codec": "prefix:16+int8", "shard_rows": 100, "processes": 1, "output": tmp_path / "encoded"}
    encoded = te_top.encode(model, texts, **options, quiet=True)
    assert str(encoded).startswith(
        f"{len(texts)} documents in {-(-len(texts) // 100)} shards of prefix:16+int8"
    )
    assert sum(map(len, encoded.tables())) == len(texts)
    assert te_top.encode(model, texts, **options, quiet=True).facts == encoded.facts
    file = tmp_path / "texts.txt"
    file.write_text("open a file\nclose it\n")
    assert te_top.encode(model, [str(file)], codec="int8", output=tmp_path / "file", quiet=True).num_rows == 2
    other = tmp_path / "others.txt"
    other.write_text("merge two files\n")
    with pytest.raises(UserError, match="expected a list of texts, or one file of them, got 2 sources"):
        te_top.search(model, "open", [str(file), str(other)], quiet=True)
    with pytest.raises(UserError, match=r"^data, row 3\b"):
        te_top.encode(model, [*texts[:2], ""], codec="int8", output=tmp_path / "bad", quiet=True)


def test_a_mixture_from_memory_and_a_bad_row_with_its_number(tmp_path):
    run = te_top.train({"first": (PAIRS[:120], 1), "second": (PAIRS[120:], 3)}, output=tmp_path / "run", quiet=True, **TINY)  # fmt: skip
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {"train/loss/source/first", "train/loss/source/second"} <= lines[0].keys()
    bad = [*PAIRS[:50], {"query": "", "document": "x"}]
    with pytest.raises(UserError, match=r"^data, row 51 \(line 51\), column 'query': expected"):
        te_top.train(bad, output=tmp_path / "bad", quiet=True, **TINY)
    with pytest.raises(UserError, match=r"^eval_data: expected texts|^--eval-data eval_data: expected texts"):
        te_top.train(PAIRS, eval_data=PAIRS[:20], output=tmp_path / "bad", quiet=True, **TINY)
    with pytest.raises(UserError, match="expected weights that sum to more than 0"):
        te_top.train([(PAIRS[:100], 0), (PAIRS[100:], 0)], output=tmp_path / "bad", quiet=True, **TINY)
    assert not (tmp_path / "bad").exists()
