"""The commands as functions, as a notebook calls them."""

import threading

import pytest
from sentence_transformers import SentenceTransformer

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
