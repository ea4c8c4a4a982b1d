"""An encoder of another package: a table and a layer, made from scratch. docs/extending/encoder.md shows it."""

import json
import sys

import pytest
from sentence_transformers import SentenceTransformer

from tempembed.commands.train import Train, train_command
from tempembed.encoders.load import load_encoder
from tempembed.settings.model import ModelSettings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError

MODULE = """
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding

from tempembed.encoders.from_scratch import FromScratch
from tempembed.encoders.pretrained import PretrainedEncoder


def build(tokenizer, width, layers, max_tokens, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer.enable_truncation(max_tokens)
        modules = [StaticEmbedding(tokenizer, embedding_dim=2 * width), Dense(2 * width, width)]
    return PretrainedEncoder(SentenceTransformer(modules=modules, device="cpu"))


deep = FromScratch(build=build, width=48, is_table=True, has_layers=False)
"""
NAME = "my_encoder:deep"


@pytest.fixture
def importable(tmp_path, monkeypatch):
    (tmp_path / "my_encoder.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_encoder", None)


def settings(data_dir, **more):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"), encoder=NAME,
        vocabulary=400, batch_size=32, steps=20, objective="mrl:0.06", **more,
    )  # fmt: skip


def test_it_is_trained_measured_and_saved_by_its_name(importable, data_dir, tmp_path):
    train_command(Train(train=settings(data_dir), output=str(tmp_path / "run")))
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert report["width"] == 48
    assert load_encoder(str(tmp_path / "run")).width == 48
    assert SentenceTransformer(str(tmp_path / "run")).encode_query(["open"]).shape == (1, 48)


def test_its_width_and_rate_are_its_own(importable, data_dir):
    wide = settings(data_dir, width=64)
    stage = ContrastiveStage(wide, prepare(wide))
    assert stage.encoder.width == 64
    assert stage.parameter_groups()[0]["peak"] == 0.01


def test_a_run_of_it_is_resumed(importable, data_dir, tmp_path):
    one = Train(train=settings(data_dir), output=str(tmp_path / "run"), stop_after=6)
    train_command(one)
    train_command(Train(train=settings(data_dir), output=str(tmp_path / "run"), resume=True))
    assert (tmp_path / "run" / "modules.json").exists()


def test_one_that_cannot_be_imported_is_said():
    with pytest.raises(
        UserError,
        match=r"--encoder: expected static, transformer, or MODULE:NAME of one .*No module named 'nobody'",
    ):
        _ = ModelSettings(encoder="nobody:deep").made_here
