import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from tempembed.encoders.load import load_encoder
from tempembed.parallel.pool import run_on_ranks
from tempembed.run.watches import NonFiniteLossError
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.pair_data import PairData
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError


@pytest.fixture(scope="module")
def settings(data_dir):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"),
        objective="tempspecmrl", width=64, vocabulary=400, batch_size=32, steps=12, log_every=4, seed=3,
    )  # fmt: skip


def run(settings: TrainSettings, output: Path, **options) -> tuple[dict[str, torch.Tensor], list]:
    reports: list = []
    output.mkdir(parents=True, exist_ok=True)
    train(settings, prepare(settings), output, reports.append, **options)
    if not (output / "modules.json").exists():
        return {}, reports
    return load_encoder(str(output)).state_dict(), reports


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_two_runs_are_bit_identical_and_learn(settings, tmp_path):
    first, reports = run(settings, tmp_path / "a")
    assert equal(first, run(settings, tmp_path / "b")[0])
    assert not equal(first, run(with_settings(settings, seed=4), tmp_path / "c")[0])
    assert [r["step"] for r in reports] == [4, 8, 12]
    assert reports[-1]["train/loss"] < reports[0]["train/loss"]
    terms = [k for k in reports[0] if k.startswith("train/loss/")]
    assert terms == [f"train/loss/dim_{d}_temperature_{t}" for d, t in ((16, 0.03), (32, 0.06), (64, 0.1))]
    for report in reports:
        counting, hardest = (
            [report[f"train/{name}/{tau}"] for tau in ("0.03", "0.1", "0.4")]
            for name in ("effective_negatives", "hardest_tenth_share")
        )
        assert 1 <= counting[0] < counting[1] < counting[2] <= 31
        assert 1 >= hardest[0] > hardest[1] > hardest[2] >= 3 / 31
    assert SentenceTransformer(str(tmp_path / "a")).encode("open the matrix").shape == (64,)


def test_the_time_of_a_step_is_split(settings, tmp_path):
    began = time.monotonic()
    _, reports = run(settings, tmp_path)
    passed = time.monotonic() - began
    phases = {"data", "encode", "gather", "loss", "backward", "optimizer", "report"}
    split = [{k.removeprefix("time/"): v for k, v in r.items() if k.startswith("time/")} for r in reports]
    for each in split:
        assert each.keys() == phases
        assert all(each[phase] > 0 for phase in phases - {"gather"})
        assert each["gather"] == 0  # one process
    training = settings.loop.steps * settings.batches.batch_size / reports[-1]["train/pairs_per_second"]
    assert training <= settings.loop.log_every * sum(sum(each.values()) for each in split) <= passed


@pytest.mark.parametrize("encoder", ["static", "transformer"])
def test_a_resumed_run_is_bit_identical(settings, tmp_path, encoder):
    settings = with_settings(settings, encoder=encoder, layers=1, steps=8, max_tokens=24)
    whole, _ = run(settings, tmp_path / "whole")
    assert run(settings, tmp_path / "parts", stop_after=3)[0] == {}
    assert run(settings, tmp_path / "parts", stop_after=6, resume=True)[0] == {}
    resumed, reports = run(settings, tmp_path / "parts", resume=True)
    assert equal(whole, resumed)
    assert reports[0]["step"] == 8


@pytest.mark.gloo
def test_resume_on_another_number_of_workers(settings, tmp_path):
    """The same batches, so up to rounding the same model as without an interruption."""
    whole, _ = run(settings, tmp_path / "whole")
    run(settings, tmp_path / "parts", stop_after=6)
    run_on_ranks(2, resumed_run, settings, prepare(settings), str(tmp_path / "parts"))
    resumed = load_encoder(str(tmp_path / "parts")).state_dict()
    torch.testing.assert_close(resumed, whole, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("budget", [150, 0])  # several micro-batches; all of a static batch in one
@pytest.mark.parametrize("encoder", ["static", "transformer"])
def test_a_cached_run_equals_a_plain_one(settings, tmp_path, encoder, budget):
    settings = with_settings(
        settings, encoder=encoder, layers=1, steps=3, max_tokens=24, micro_batch_tokens=budget, log_every=1,
        objective="tempagg:learned(0.06),cosine(0.03,0.1)", direction="both",
    )  # fmt: skip
    _, plain = run(settings, tmp_path / "plain")
    _, cached = run(with_settings(settings, gradient_cache=True), tmp_path / "cached")
    for a, b in zip(plain, cached, strict=True):
        assert b["train/loss"] == pytest.approx(a["train/loss"], rel=1e-5)
        assert b["train/grad_norm"] == pytest.approx(a["train/grad_norm"], rel=1e-4)
    moving = [r["train/temperature/dim_64_temperature_learned_0.06"] for r in plain]
    assert moving[0] == pytest.approx(0.06)
    assert moving[2] != moving[0]
    assert plain[0]["train/temperature/dim_64_temperature_cosine_0.03_0.1"] == pytest.approx(0.1)


def test_a_learned_temperature_survives_an_interruption(settings, tmp_path):
    settings = with_settings(settings, objective="infonce:learned(0.1)", log_every=1)
    _, whole = run(settings, tmp_path / "whole")
    run(settings, tmp_path / "parts", stop_after=6)
    _, rest = run(settings, tmp_path / "parts", resume=True)
    key = "train/temperature/dim_64_temperature_learned_0.1"
    assert rest[-1][key] == whole[-1][key] != 0.1


def spoil(output):
    """Not a number in all weights of the newest checkpoint, whose checksums are right."""
    folder = next((output / "checkpoints").glob("step_*"))
    weights = load_file(folder / "model.safetensors")
    (name,) = [n for n in weights if n.startswith("encoder.")]
    weights[name][:] = torch.nan
    save_file(weights, folder / "model.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["model.safetensors"] = hashlib.sha256(
        (folder / "model.safetensors").read_bytes()
    ).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_non_finite_embedding_is_named(settings, tmp_path):
    prepared = prepare(settings)
    one = with_settings(settings, steps=2)
    train(one, prepared, tmp_path, lambda _: None, stop_after=1)
    spoil(tmp_path)
    with pytest.raises(
        NonFiniteLossError, match=r"step 2: .*on rank 0 for the query of pair \d+ of the training data"
    ):
        train(one, prepared, tmp_path, lambda _: None, resume=True)


def test_masked_and_repeated_texts_are_counted(settings, tmp_path):
    rows = [{"query": f"open {i}", "document": f"def same_{i % 4}()"} for i in range(64)]
    path = tmp_path / "same.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = with_settings(settings, data=str(path), eval_data=None, batch_size=16, steps=2, log_every=1)
    _, reports = run(one, tmp_path / "x")
    assert reports[0]["train/repeats_per_epoch"] == 64 - 4 * 4
    assert reports[0]["train/masked_negatives_per_step"] > 16


def test_single_source_batches_of_a_folder(settings, tmp_path):
    for name in "ab":
        rows = [{"query": f"open {name} {i}", "document": f"def {name}_{i}()"} for i in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = with_settings(settings, data=str(tmp_path), eval_data=None, steps=2, single_source=True)
    prepared = prepare(one)
    assert prepared.sources.tolist() == [0] * 40 + [1] * 40
    plan = PairData(one, prepared, torch.device("cpu")).plan
    assert plan.steps_per_epoch == 2  # 32 of each 40
    assert all(len(set(prepared.sources[plan.rows(step)])) == 1 for step in range(2))
    run(one, tmp_path / "out")
    rows = [{"query": f"close {i}", "document": f"def c_{i}()"} for i in range(7)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = []
    prepare(one, said.append)
    assert [line for line in said if "c.jsonl has 7 pairs, fewer than a batch of 32: none of them" in line]
    assert not [line for line in said if "a.jsonl has" in line]


def test_asked_to_stop_it_leaves_a_checkpoint_and_goes_on_to_the_same_bits(settings, tmp_path):
    settings = with_settings(settings, log_every=1)
    whole, _ = run(settings, tmp_path / "whole")
    asked = []
    part = tmp_path / "part"
    train(
        settings,
        prepare(settings),
        part,
        lambda metrics: asked.append(metrics["step"]),
        stop=lambda: len(asked) == 2,
    )
    assert asked == [1, 2, 3]
    assert not (part / "modules.json").exists()
    resumed, reports = run(settings, part, resume=True)
    assert reports[0]["step"] == 4
    assert equal(whole, resumed)


def test_resume_refuses_other_settings(settings, tmp_path):
    run(settings, tmp_path, stop_after=3)
    with pytest.raises(UserError, match="seed: 3 there, 9 here"):
        run(with_settings(settings, seed=9), tmp_path, resume=True)


def test_a_non_finite_loss_names_step_and_term(settings, tmp_path):
    broken = with_settings(settings, terms=("64@0.06", "32@1e-39"), steps=3)
    with pytest.raises(
        NonFiniteLossError, match=r"step 1: expected a finite loss, got .* for the term 32@1e-39"
    ):
        run(broken, tmp_path)


def distributed_run(settings, prepared, output) -> list:
    reports: list = []
    train(settings, prepared, Path(output), reports.append)
    return [r["train/loss"] for r in reports]


def resumed_run(settings, prepared, output) -> None:
    train(settings, prepared, Path(output), lambda _: None, resume=True)


@pytest.mark.gloo
def test_two_workers_train_a_transformer(settings, tmp_path):
    """From scratch, then from its folder, whose pooler no embedding depends on; cached as plain."""
    small = with_settings(settings, encoder="transformer", layers=1, max_tokens=24, steps=4, log_every=2)
    losses = []
    for name, cache in (("plain", False), ("cached", True)):
        (tmp_path / name).mkdir()
        one = with_settings(small, gradient_cache=cache, micro_batch_tokens=200)
        losses.append(run_on_ranks(2, distributed_run, one, prepare(one), str(tmp_path / name))[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    tuned = with_settings(small, encoder=str(tmp_path / "plain"), width=None, terms=("64@0.1",))
    (tmp_path / "tuned").mkdir()
    again = run_on_ranks(2, distributed_run, tuned, prepare(tuned), str(tmp_path / "tuned"))
    assert again[0] == again[1]


@pytest.mark.gloo
def test_two_workers_learn_what_one_learns(settings, tmp_path):
    """Same batches, exact gradient: the weights agree up to rounding, and twice on two workers exactly."""
    one, reports = run(settings, tmp_path / "one")
    prepared = prepare(settings)
    for name in ("two", "again"):
        (tmp_path / name).mkdir()
        losses = run_on_ranks(2, distributed_run, settings, prepared, str(tmp_path / name))
        assert losses[0] == losses[1] == pytest.approx([r["train/loss"] for r in reports], rel=1e-4)
    two = load_encoder(str(tmp_path / "two")).state_dict()
    torch.testing.assert_close(two, one, rtol=2e-3, atol=1e-3)
    assert equal(two, load_encoder(str(tmp_path / "again")).state_dict())


def test_hard_negatives_and_pretrained(settings, tmp_path, data_dir):
    rows = [
        {"query": f"open box {i}", "document": f"def open_{i}()", "negative": f"def shut_{i}()"}
        for i in range(64)
    ]
    rows[0]["negative"] = None
    path = tmp_path / "negatives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = with_settings(settings, data=str(path), eval_data=None, direction="both", steps=2)
    run(base, tmp_path / "static")
    prepared = prepare(base)
    assert prepared.meta["num_hard_negatives"] == 1
    assert prepared.has_negative.tolist() == [[False] + [True] * 63]
    again = with_settings(base, encoder=str(tmp_path / "static"), width=None)
    weights, _ = run(again, tmp_path / "tuned")
    assert weights.keys() == initial_encoder(base, prepared).state_dict().keys()


def test_settings_that_cannot_be(settings, data_dir):
    with pytest.raises(UserError, match="at least 4096 pairs for one batch"):
        prepare(with_settings(settings, batch_size=4096))
    with pytest.raises(UserError, match="dim <= 64"):
        prepare(with_settings(settings, terms=("128@0.1",)))
    with pytest.raises(UserError, match="model 'no/such-model'"):
        prepare(with_settings(settings, encoder="no/such-model", width=None))
    with pytest.raises(UserError, match="--warmup"):
        TrainSettings.of(warmup=2)
    with pytest.raises(UserError, match="--epochs: expected > 0"):
        TrainSettings.of(epochs=0)


def test_hold_out_keeps_test_pairs_from_training(settings):
    prepared = prepare(with_settings(settings, eval_data=None, hold_out=0.25))
    task, queries, documents = prepared.evaluation()
    assert len(task.queries) == len(queries) == 80
    assert prepared.meta["num_pairs"] == len(prepared.queries) == 320 - 80
    assert len(task.documents) == len(documents)
    assert prepare(with_settings(settings, eval_data=None)).evaluation() is None


def test_a_run_that_is_done_is_not_trained_again(settings, tmp_path):
    whole, _ = run(settings, tmp_path)
    model = next(tmp_path.glob("**/model.safetensors"))
    stamp = model.stat().st_mtime_ns
    again, reports = run(settings, tmp_path, resume=True)
    assert not reports
    assert equal(whole, again)
    assert model.stat().st_mtime_ns == stamp


def test_a_model_of_before_is_not_that_of_a_run_that_was_stopped(settings, tmp_path):
    run(settings, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    other = with_settings(settings, seed=9)
    assert not train(other, prepare(other), tmp_path, lambda _: None, stop_after=4)
    assert not (tmp_path / "trained.json").exists()
    assert train(other, prepare(other), tmp_path, lambda _: None, resume=True)
    assert json.loads((tmp_path / "trained.json").read_text())["seed"] == 9
