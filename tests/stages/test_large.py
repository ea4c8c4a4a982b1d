"""Frozen layers, rates by layer, layers that are computed again: what a run does with them."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from tempembed.encoders.layers import depths
from tempembed.encoders.load import load_encoder
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import bert, wrapped
from tests.run_ranks import losses_and_norms
from tests.runs import run, weights


@pytest.fixture(scope="module")
def settings(data_dir, tmp_path_factory):
    """A transformer of two layers without dropout, so that ranks draw nothing apart."""
    folder = tmp_path_factory.mktemp("base")
    base = wrapped(bert(folder / "b", hidden_dropout_prob=0, attention_probs_dropout_prob=0), folder / "m")
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(base), batch_size=24, steps=6, log_every=1, max_tokens=24,
        learning_rate=1e-3,
    )  # fmt: skip


def moved(settings, folder):
    """Largest change of a weight, by depth."""
    base, after = load_encoder(settings.model.encoder), weights(folder)
    of_parameter = depths(base, "")
    change = {}
    for name, parameter in base.named_parameters():
        depth, num = of_parameter[id(parameter)]
        if depth > num:
            continue  # a pooler, which no embedding depends on
        change.setdefault(depth, []).append((after[name] - parameter).abs().max().item())
    return {depth: max(each) for depth, each in change.items()}


def test_a_layer_learns_at_its_share_of_the_rate_above(settings, tmp_path):
    """AdamW's first step moves a weight by the rate itself, whatever the gradient."""
    one = with_settings(settings, layer_decay=0.5, warmup=0.0, weight_decay=0.0, steps=1)
    (report,) = run(one, tmp_path)
    assert moved(one, tmp_path) == pytest.approx({0: 0.25e-3, 1: 0.5e-3, 2: 1e-3}, rel=1e-2)
    assert report["train/learning_rate"] == 1e-3


@pytest.mark.parametrize(("num", "fixed"), [(0, {0}), (1, {0, 1})])
def test_what_is_frozen_stays_to_the_bit(settings, tmp_path, num, fixed):
    one = with_settings(settings, freeze_layers=num, checkpoint_every=3)
    run(one, tmp_path)
    change = moved(one, tmp_path)
    assert {depth for depth, most in change.items() if most == 0} == fixed
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    names = load_file(checkpoint / "model.safetensors").keys()
    assert not [name for name in names if "embeddings" in name]
    stage = ContrastiveStage(one, prepare(one))
    grouped = sum(len(group["params"]) for group in stage.parameter_groups())
    assert grouped == sum(parameter.requires_grad for parameter in stage.encoder.parameters()) == len(names)


def test_biases_and_norms_are_not_decayed_if_so_asked(settings):
    prepared = prepare(settings)
    for decayed, want in (("all", {1, 2}), ("matrices", {2})):
        groups = ContrastiveStage(with_settings(settings, decayed=decayed), prepared).parameter_groups()
        assert {p.ndim for group in groups for p in group["params"] if group["weight_decay"]} == want
        assert {p.ndim for group in groups for p in group["params"]} == {1, 2}


VARIANTS = {
    "frozen": {"freeze_layers": 1},
    "frozen, slower": {"freeze_layers": 0, "layer_decay": 0.7, "decayed": "matrices", "schedule": "wsd"},
    "again": {"gradient_checkpointing": True},
    "frozen, again": {"freeze_layers": 0, "gradient_checkpointing": True},
}


# frozen alone: test_a_checkpoint_of_everything_is_read_as_well; computed again alone: test_computed_again_is_the_same_run
@pytest.mark.parametrize("name", ["frozen, slower", "frozen, again"])
def test_resumed_it_has_the_same_bits(settings, tmp_path, name):
    one = with_settings(settings, **VARIANTS[name])
    run(one, tmp_path / "whole")
    run(one, tmp_path / "parts", stop_after=2)
    run(one, tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.gloo
def test_cached_and_on_ranks_it_is_one_process(settings, tmp_path):
    cases = [
        with_settings(settings, steps=3, gradient_cache=cache, micro_batch_tokens=150, **more)
        for more, cache in itertools.product(VARIANTS.values(), (False, True))
    ]
    prepared = prepare(settings)
    want = [losses_and_norms([case], prepared, str(tmp_path / f"one{i}")) for i, case in enumerate(cases)]
    got = run_on_ranks(2, losses_and_norms, cases, prepared, str(tmp_path / "two"))[0]
    assert got == pytest.approx([value for each in want for value in each], rel=1e-4)
    assert len(got) == 2 * 3 * len(cases)


def test_computed_again_is_the_same_run(settings, tmp_path):
    """It changes how a step is computed, and not what comes of it: a run may go on with it."""
    run(settings, tmp_path / "whole")
    run(settings, tmp_path / "parts", stop_after=2)
    run(with_settings(settings, gradient_checkpointing=True), tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_checkpoint_of_everything_is_read_as_well(settings, tmp_path):
    """Earlier versions kept what is frozen too."""
    from safetensors.torch import save_file

    from tempembed.system.checksums import checksums

    one = with_settings(settings, freeze_layers=1)
    run(one, tmp_path / "whole")
    run(one, tmp_path / "parts", stop_after=3)
    (folder,) = (tmp_path / "parts" / "checkpoints").iterdir()
    base = load_encoder(one.model.encoder).state_dict()
    kept = load_file(folder / "model.safetensors")
    save_file({**{f"encoder.{name}": t for name, t in base.items()}, **kept}, folder / "model.safetensors")
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    (folder / "manifest.json").write_text(json.dumps({"sha256": checksums(folder, names)}))
    run(one, tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_what_cannot_be_is_said_in_a_line(settings, tmp_path):
    prepared = prepare(settings)
    for more, message in (
        ({"freeze_layers": 7}, "--freeze-layers: expected at most the 2 layers"),
        ({"freeze_layers": 2}, "--freeze-layers: expected something to be left"),
    ):
        with pytest.raises(UserError, match=message):
            train(with_settings(settings, **more), prepared, tmp_path, print)
    with pytest.raises(UserError, match="--freeze-layers: expected a loaded model, got transformer"):
        TrainSettings.of(encoder="transformer", freeze_layers=0)
    table = TrainSettings.of(data=settings.data.data, width=32, vocabulary=400, batch_size=32)
    for more in ({"layer_decay": 0.5}, {"gradient_checkpointing": True}):
        (flag,) = more
        with pytest.raises(
            UserError, match=f"--{flag.replace('_', '-')}: expected a transformer, got an encoder"
        ):
            train(with_settings(table, **more), prepare(table), tmp_path, print)
    assert not list(tmp_path.iterdir())
