"""Sharded over ranks, a step has the gradient of one process, and a rank holds its part only."""

import doctest

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tempembed.diagnostics import plan
from tempembed.encoders.load import load_encoder
from tempembed.parallel.pool import run_on_ranks
from tempembed.run.loop import quiet
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs
from tempembed.stages.prepare import prepare
from tests.models import bert, llama, wrapped
from tests.parallel.on_ranks import KINDS, memory, plain_and_cached, step, steps
from tests.run_ranks import losses_and_norms, runs

pytestmark = pytest.mark.gloo
NO_DROPOUT = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(bert(tmp_path_factory.mktemp("base"), **NO_DROPOUT))


@pytest.fixture(scope="module")
def wanted(base):
    return {name: step(base, sharded=False, cached=False, **kind) for name, kind in KINDS.items()}


def error(got, want):
    """Largest relative error; a gradient that is zero but for rounding (a key's bias) by the largest of all."""
    largest = max(tensor.norm() for tensor in want.values())
    assert got.keys() == want.keys()
    return max(((got[n] - want[n]).norm() / max(want[n].norm(), 1e-6 * largest)).item() for n in want)


def test_ranks_give_the_one_process_gradient(base, wanted):
    """Every kind, plain and cached, though three ranks have unlike numbers of chunks and unequal parts of each weight."""
    found = run_on_ranks(3, steps, base)
    assert len({each["all", True][2] for each in found}) > 1
    for (name, _), (loss, gradients, _) in found[0].items():
        want_loss, want, _ = wanted[name if name in KINDS else "all"]
        bound = {"float32": 1e-5, "bfloat16": 0.2}.get(name, 1e-10)
        assert loss == pytest.approx(want_loss, rel=bound)
        assert error(gradients, want) < bound


def test_a_decoder_with_places_of_its_own(tmp_path):
    """Rotary places are a buffer of the model that no layer has."""
    decoder = str(llama(tmp_path))
    found = run_on_ranks(2, plain_and_cached, decoder)[0]
    want_loss, want, _ = step(decoder, sharded=False, cached=False)
    for cached in (False, True):
        loss, gradients, _ = found["all", cached]
        assert loss == pytest.approx(want_loss, rel=1e-10)
        assert error(gradients, want) < 1e-10


def test_a_rank_holds_its_part(base):
    encoder = load_encoder(base)
    weights = sum(parameter.nbytes for parameter in encoder.parameters())
    for (held, state), copied in run_on_ranks(2, memory, base):
        assert held == pytest.approx(weights / 2, rel=0.02)
        assert state == pytest.approx(2 * weights / 2, rel=0.05)  # a pooler has none
        assert set(copied.values()) <= {"Tensor"}


def test_the_arithmetic_of_plan_is_what_ranks_hold(base):
    """Of a model of which all is trained: weights, gradient, two moments."""
    assert doctest.testmod(plan).failed == 0
    parameters = list(load_encoder(base).parameters())
    weights = sum(parameter.nbytes for parameter in parameters)
    assert plan.state_bytes(sum(p.numel() for p in parameters), num_workers=2) == 4 * weights // 2


@pytest.fixture(scope="module")
def settings(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(wrapped(bert(folder / "b", **NO_DROPOUT), folder / "m")),
        batch_size=24, steps=4, log_every=1, max_tokens=24, micro_batch_tokens=150, learning_rate=1e-3,
        objective="tempagg:learned(0.06),0.1", gradient_cache=True,
    )  # fmt: skip


def near(one, other):
    """Files with weights that are equal up to rounding, for AdamW steps of 1e-3."""
    one, other = load_file(one), load_file(other)
    assert one.keys() == other.keys()
    return max((one[n].float() - other[n].float()).abs().max().item() for n in one)


def test_a_sharded_run_is_the_run_of_one_process(settings, tmp_path):
    """Its metrics, checkpoints, model and adapter; resumed on another number of ranks, sharded or not."""
    cases = {
        "full": settings,
        "lora": with_settings(settings, lora_rank=4),
        "half": with_settings(settings, save_dtype="float16", layer_decay=0.8, freeze_layers=0, gradient_checkpointing=True),
    }  # fmt: skip
    prepared = prepare(settings)
    want = losses_and_norms(cases.values(), prepared, str(tmp_path / "one"))
    for name, case in cases.items():  # half a run on one process, to be resumed on ranks
        (tmp_path / f"{name}-parts").mkdir()
        train_pairs(case, prepared, tmp_path / f"{name}-parts", quiet, stop_after=2)
    got = run_on_ranks(2, runs, list(cases.items()), prepared, str(tmp_path))[0]
    assert got == pytest.approx(want, rel=1e-4)
    for number, (name, case) in enumerate(cases.items()):
        whole = tmp_path / "one" / str(number)
        train_pairs(case, prepared, tmp_path / f"{name}-sharded-parts", quiet, resume=True)
        for other in (f"{name}-sharded", f"{name}-parts", f"{name}-sharded-parts"):
            assert near(whole / "model.safetensors", tmp_path / other / "model.safetensors") < 1e-3
            assert SentenceTransformer(str(tmp_path / other), device="cpu").encode("open").shape == (32,)
    files = [tmp_path / each / "adapter" / "adapter_model.safetensors" for each in ("one/1", "lora-sharded")]
    assert near(*files) < 1e-3
    config = [(tmp_path / each / "config.json").read_text() for each in ("one/2", "half-sharded")]
    assert config[0] == config[1]


def test_what_cannot_be_sharded_says_so(data_dir, tmp_path):
    table = TrainSettings.of(
        data=str(data_dir / "train.parquet"), width=32, vocabulary=400, batch_size=32, steps=2
    )
    with pytest.raises(RuntimeError, match="--shard: expected a transformer, got an encoder without layers"):
        run_on_ranks(2, losses_and_norms, [table], prepare(table), str(tmp_path), True)
    train_pairs(table, prepare(table), tmp_path / "one", quiet, shard=True)  # one process: nothing to share
    assert torch.isfinite(next(load_encoder(str(tmp_path / "one")).parameters())).all()
