"""`tempembed pretrain`, and training that starts from what it leaves."""

import json

import pytest
import yaml
from sentence_transformers import SentenceTransformer

import tempembed.api as te
from ray_jobs.pretrain_driver import check_batch
from tempembed.commands.pretrain import Pretrain
from tempembed.commands.train import Train
from tempembed.settings.pretrain import PretrainSettings
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tracking.tracked import IDENTITY, pretraining_tags

SMALL = {
    "exclude": ("none",),
    "vocabulary": 300,
    "width": 64,
    "layers": 1,
    "max_tokens": 32,
    "batch_tokens": 256,
    "steps": 6,
}
TEXTS = [
    {"text": f"def read_{i}(path, mode): return open(path + {i % 7}, mode) # {'abcdefg'[i % 7]} file"} for i in range(120)
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return te.pretrain(TEXTS, **SMALL, output=tmp_path_factory.mktemp("pretrain") / "base", quiet=True)


def reports(model):
    return [json.loads(line) for line in (model.folder / "metrics.jsonl").read_text().splitlines()]


def test_text_of_a_program_becomes_an_encoder_that_train_starts_from(base, data_dir, tmp_path):
    assert SentenceTransformer(str(base.folder)).encode(["open a file"]).shape == (1, 64)
    last = reports(base)[-1]
    assert last["step"] == last["num_steps"] == 6
    assert 0 < last["train/mfu"] < 10
    run = te.train(
        str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"), encoder=base, batch_size=32, steps=3,
        output=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert run.verdict is not None
    assert json.loads((run.folder / "settings.json").read_text())["encoder"] == str(base.folder)


def test_run_yaml_repeats_it_to_the_bit(base, tmp_path):
    again = te.pretrain(config=base.folder / "run.yaml", output=tmp_path / "again", quiet=True)
    assert reports(again)[-1]["train/loss"] == reports(base)[-1]["train/loss"]
    written = yaml.safe_load((base.folder / "run.yaml").read_text())
    assert written == yaml.safe_load((again.folder / "run.yaml").read_text())


def test_a_run_that_is_refused_keeps_what_it_was(base, tmp_path):
    before = (base.folder / "run.yaml").read_text()
    with pytest.raises(UserError, match="layers"):
        te.pretrain(TEXTS, **{**SMALL, "layers": 2}, output=base.folder, resume=True, quiet=True)
    assert (base.folder / "run.yaml").read_text() == before
    with pytest.raises(UserError, match="expected a new or empty folder"):
        te.pretrain(TEXTS, **SMALL, output=base.folder, quiet=True)
    with pytest.raises(TypeError, match="expected settings of PretrainSettings, got"):
        te.pretrain(TEXTS, colour="red")


def test_the_runs_that_start_from_it_say_so(base, tmp_path):
    assert pretraining_tags(str(base.folder)) == {}  # no tracker knew it
    (base.folder / IDENTITY).write_text("0123")
    assert pretraining_tags(str(base.folder)) == {"tempembed.pretrained_by": "0123"}
    (base.folder / IDENTITY).unlink()
    assert pretraining_tags("static") == {}


def test_a_batch_divides_over_the_workers():
    settings = PretrainSettings.of(batch_tokens=256 * 3)
    check_batch(settings, 3)
    with pytest.raises(UserError, match="divides over 2 workers, got 3 sequences"):
        check_batch(settings, 2)


def test_a_folder_that_is_called_as_a_shape_is_a_place_for_training_alone(tmp_path, monkeypatch):
    (tmp_path / "bert").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Train(train=TrainSettings.of(encoder="bert"), output="one").settings.model.encoder == str(
        tmp_path / "bert"
    )
    assert (
        Pretrain(pretrain=PretrainSettings.of(encoder="bert"), output="one").settings.model.encoder == "bert"
    )
