"""What `--precision auto` comes to: by measurement on a CPU, alike on all ranks, and on resume what the run began in."""

import json

import pytest
import torch
from torch import nn

from tempembed.encoders import precision
from tempembed.encoders.load import load_encoder
from tempembed.encoders.precision import uses_bfloat16
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage, train_pairs
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import KINDS


class Wide(nn.Module):
    """What is asked of an encoder: its device and its layers."""

    device = torch.device("cpu")

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)


def pretend(monkeypatch, float32, bfloat16):
    monkeypatch.setattr(precision, "_seconds", lambda *_, half: bfloat16 if half else float32)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "want"), [(2.4, 1.0, True), (1.2, 1.0, False), (1.0, 3.0, False)]
)
def test_a_cpu_is_measured(float32, bfloat16, want, monkeypatch):
    pretend(monkeypatch, float32, bfloat16)
    assert uses_bfloat16("auto", Wide(512)) is want
    assert uses_bfloat16("float32", Wide(512)) is False
    assert uses_bfloat16("bfloat16", Wide(512)) is True


def test_small_layers_and_tables_are_float32_unmeasured(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_seconds", None)
    assert not uses_bfloat16("auto", Wide(64))
    for kind in ("static", "bert, mean"):
        assert not uses_bfloat16("auto", load_encoder(str(KINDS[kind](tmp_path / kind))))


def test_the_measurement_leaves_no_gradient_and_draws_nothing():
    encoder, state = Wide(512), torch.get_rng_state()
    assert precision._seconds(torch.zeros(64, 512, requires_grad=True), encoder.layer.weight, half=True) > 0
    uses_bfloat16("auto", encoder)
    assert encoder.layer.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_one_rank_that_is_no_faster_decides_for_all(monkeypatch):
    pretend(monkeypatch, 3.0, 1.0)
    monkeypatch.setattr(precision, "gathered_objects", lambda value: [value, False])
    assert not uses_bfloat16("auto", Wide(512))


def test_a_cpu_saves_and_measures_in_float32_what_it_trains_in_bfloat16(tmp_path):
    encoder = load_encoder(str(KINDS["bert, mean"](tmp_path)))
    tokens = encoder.prepare(["open the matrix", "close a socket"], encoder.role("query"))
    before = encoder.embed(tokens)
    encoder.use_bfloat16 = True
    assert torch.equal(encoder.embed(tokens), before)
    assert not torch.equal(encoder.eval()([tokens]), encoder.train()([tokens]).float())


def test_a_resumed_run_goes_on_in_the_precision_that_it_began_in(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "SMALL", 1)
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(KINDS["bert, mean"](tmp_path)), batch_size=32, steps=4,
        log_every=1, checkpoint_every=2,
    )  # fmt: skip
    prepared = prepare(settings)
    pretend(monkeypatch, 3.0, 1.0)
    whole, parts = [], []
    assert train_pairs(settings, prepared, tmp_path / "whole", whole.append)
    assert not train_pairs(settings, prepared, tmp_path / "parts", parts.append, stop_after=2)
    pretend(monkeypatch, 1.0, 3.0)  # another machine
    assert ContrastiveStage(settings, prepared).identity["precision"] == "float32"
    assert train_pairs(settings, prepared, tmp_path / "parts", parts.append, resume=True)
    assert [each["train/loss"] for each in parts] == [each["train/loss"] for each in whole]
    assert json.loads((tmp_path / "parts" / "trained.json").read_text())["precision"] == "bfloat16"
    assert train_pairs(settings, prepared, tmp_path / "parts", parts.append, resume=True)  # it is done
    assert len(parts) == 4
    other = TrainSettings.of(**{**settings.to_dict(), "precision": "float32"})
    assert train_pairs(other, prepare(other), tmp_path / "other", parts.append, stop_after=2) is False
    (tmp_path / "other" / "trained.json").unlink(missing_ok=True)
    asked = TrainSettings.of(**{**settings.to_dict(), "precision": "bfloat16"})
    with pytest.raises(UserError, match="precision: 'float32' there, 'bfloat16' here"):
        train_pairs(asked, prepare(asked), tmp_path / "other", parts.append, resume=True)
