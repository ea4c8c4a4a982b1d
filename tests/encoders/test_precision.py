"""Weights are trained in float32, whatever they were stored in, and are saved in what is asked for."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from tempembed.encoders.load import load_encoder
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import KINDS, WIDTH, bert, static, wrapped

HALVES = (torch.float16, torch.bfloat16)


def trained(model, data_dir, output, **changes):
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(model), **{"batch_size": 32, "steps": 8, **changes}
    )
    reports = []
    assert train(settings, prepare(settings), output, reports.append)
    return reports


def moved(before, after):
    return max((after[name].double() - tensor.double()).abs().max().item() for name, tensor in before.items())


@pytest.mark.parametrize("dtype", HALVES)
def test_a_transformer_stored_in_half_precision_trains_as_one_in_float32(dtype, data_dir, tmp_path):
    """Eight steps at 2e-5 move a weight by 1.6e-4 at most, and nearly every one."""
    half = wrapped(bert(tmp_path / "b"), tmp_path / "half", dtype=dtype)
    SentenceTransformer(str(half), device="cpu").float().save(str(tmp_path / "full"), create_model_card=False)
    weights = {}
    for name in ("half", "full"):
        before = load_encoder(str(tmp_path / name)).state_dict()
        assert {tensor.dtype for tensor in before.values() if tensor.is_floating_point()} == {torch.float32}
        trained(tmp_path / name, data_dir, tmp_path / f"{name}-run")
        after = load_encoder(str(tmp_path / f"{name}-run")).state_dict()
        assert 1e-5 < moved(before, after) < 2e-4
        learned = [n for n in before if "encoder.layer" in n and "weight" in n]
        assert np.mean([(before[n] != after[n]).float().mean() for n in learned]) > 0.9
        weights[name] = after
    assert moved(weights["half"], weights["full"]) == 0
    stored = load_file(tmp_path / "half-run" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", HALVES)
def test_a_table_stored_in_half_precision_trains_as_one_in_float32(dtype, data_dir, tmp_path):
    half = static(tmp_path / "half", dtype=dtype)
    SentenceTransformer(str(half), device="cpu").float().save(str(tmp_path / "full"), create_model_card=False)
    weights = {}
    for name in ("half", "full"):
        before = load_encoder(str(tmp_path / name)).state_dict()
        trained(tmp_path / name, data_dir, tmp_path / f"{name}-run")
        weights[name] = load_encoder(str(tmp_path / f"{name}-run")).state_dict()
        assert 1e-3 < moved(before, weights[name]) < 0.1
    assert moved(weights["half"], weights["full"]) == 0


def test_modules_behind_the_transformer_are_float32_too(data_dir, tmp_path):
    model = wrapped(bert(tmp_path / "b"), tmp_path / "m", rest=(Dense(WIDTH, 16),), dtype=torch.float16)
    encoder = load_encoder(str(model))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    trained(model, data_dir, tmp_path / "run")
    assert load_encoder(str(tmp_path / "run")).width == 16


@pytest.mark.parametrize("kind", ["static", "bert, mean"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_the_type_of_the_output_is_chosen(kind, name, data_dir, tmp_path):
    trained(KINDS[kind](tmp_path), data_dir, tmp_path / "run", save_dtype=name)
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, name)}
    assert SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(["open"]).shape == (1, WIDTH)


@pytest.mark.parametrize(
    ("kind", "rate"), [("static", 0.01), ("static, dense, normalised", 0.01), ("bert, mean", 2e-5)]
)
def test_a_loaded_model_learns_at_the_rate_of_its_kind(kind, rate, data_dir, tmp_path):
    reports = trained(KINDS[kind](tmp_path), data_dir, tmp_path / "run", log_every=1, warmup=0.0)
    assert reports[0]["train/learning_rate"] == pytest.approx(rate)
    asked = trained(tmp_path / "m", data_dir, tmp_path / "asked", log_every=1, warmup=0.0, learning_rate=1e-3)
    assert asked[0]["train/learning_rate"] == pytest.approx(1e-3)


def test_a_saved_model_that_is_not_what_was_trained_is_an_error(data_dir, tmp_path, monkeypatch):
    from tempembed.encoders.pretrained import PretrainedEncoder

    save = PretrainedEncoder.save

    def forgetful(self, folder, dtype=torch.float32):
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(2)
            save(self, folder, dtype)
            for parameter in self.parameters():
                parameter.div_(2)

    model = KINDS["bert, mean"](tmp_path)
    monkeypatch.setattr(PretrainedEncoder, "save", forgetful)
    with pytest.raises(
        UserError, match=r"expected encode_query of the saved model to give what was trained.* off by"
    ):
        trained(model, data_dir, tmp_path / "run")
    assert not (tmp_path / "run" / "trained.json").exists()


def test_the_library_reads_each_form_of_a_table_once(data_dir, tmp_path, monkeypatch):
    """Its import takes longer than a table trains; every table is read again by us."""
    from tempembed.encoders import saved

    asked = []
    read = saved._the_librarys
    monkeypatch.setattr(saved, "_the_librarys", lambda folder: asked.append(folder.name) or read(folder))
    encoder = load_encoder(str(static(tmp_path / "m")))
    for name, dtype in (("one", torch.float32), ("two", torch.float32), ("half", torch.float16)):
        saved.save_checked(encoder, tmp_path / name, dtype, tmp_path / "known")
    assert asked == ["one", "half"]
    prompted = load_encoder(str(tmp_path / "m"), prompts={"query": "q: "})
    saved.save_checked(prompted, tmp_path / "prompted", torch.float32, tmp_path / "known")
    assert asked == ["one", "half", "prompted"]
    monkeypatch.setattr(
        saved.static, "load_static", lambda folder: load_encoder(str(static(tmp_path / "b", seed=1)))
    )
    with pytest.raises(UserError, match="expected encode_query of the saved model"):
        saved.save_checked(encoder, tmp_path / "three", torch.float32, tmp_path / "known")
