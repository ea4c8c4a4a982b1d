"""What makes a run the same run: what changes its result, and nothing else."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tempembed.commands.train import Train, train_command
from tempembed.encoders.load import load_encoder
from tempembed.run.checkpoint import checkpoints
from tempembed.run.identity import differences
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.identity import (
    RESOLVED_SETTINGS,
    RESUMABLE_SETTINGS,
    Facts,
    count_steps,
    restored_identity,
    restored_settings,
    run_identity,
    settings_identity,
)
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.conftest import make_rows

FACTS = Facts(data="aa", encoder="static", width=64, is_table=True, sizes=(320,))
BASE = TrainSettings.of(width=64, batch_size=32, steps=20)
FINE_TUNED = Facts(data="aa", encoder="cc", width=64, is_table=False, sizes=(320,))


def same(other, base=BASE, facts=FACTS, bfloat16=False):
    return not differences(run_identity(base, facts), run_identity(other, facts, bfloat16=bfloat16))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"objective": "mrl:0.06"}, {"terms": ("16@0.06", "32@0.06", "64@0.06")}),
        ({"objective": "mrl:0.06"}, {"objective": "MRL:0.060"}),
        ({"objective": "tempaggmrl"}, {"objective": "tempaggmrl:0.03,0.06,0.1"}),
        ({"objective": "tempagg"}, {"objective": "infonce:0.2", "terms": ("64@0.03", "64@0.06*1", "64@0.1")}),
        ({"objective": "infonce:cosine(0.03,0.1)"}, {"objective": "infonce:cosine(0.03,0.1,1)"}),
        ({"steps": 20}, {"steps": None, "epochs": 2.0}),
        ({"steps": 20, "epochs": 2.0}, {"steps": 20, "epochs": 7.0}),
        ({"learning_rate": None}, {"learning_rate": 0.01}),
        ({}, {"data": "./pairs.jsonl"}),
        ({}, {"eval_data": "test.jsonl", "hold_out": 0.2, "skip_bad_rows": True}),
        ({}, {"log_every": 3, "checkpoint_every": 5}),
        ({}, {"gradient_cache": True, "micro_batch_tokens": 512}),
        ({}, {"layers": 7}),  # of an encoder without layers
        ({}, {"temperature_learning_rate": 0.5}),  # of temperatures that are not learned
        ({}, {"precision": "float32"}),
        ({}, {"single_source": True}),  # of one file
    ],
)
def test_what_has_no_effect_is_the_same_run(one, other):
    assert same(with_settings(BASE, **other), with_settings(BASE, **one))


def test_the_default_width_of_an_encoder_is_its_width():
    wide = dataclasses.replace(FACTS, width=1024)
    assert same(TrainSettings.of(width=1024), TrainSettings(), wide)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"objective": "infonce:0.05"}, "objective: 64@0.06 there, 64@0.05 here"),
        ({"objective": "infonce:0.0600000001"}, "objective: 64@0.06 there, 64@0.0600000001 here"),
        ({"terms": ("64@0.06*0.5",)}, "objective: 64@0.06 there, 64@0.06*0.5 here"),
        ({"steps": 21}, "num_steps: 20 there, 21 here"),
        ({"batch_size": 64}, "batch_size: 32 there, 64 here"),
        ({"warmup": 0.2}, "warmup: 0.1 there, 0.2 here"),
        ({"warmup_steps": 5}, "warmup_steps: None there, 5 here"),
        ({"schedule": "cosine"}, "schedule: 'linear' there, 'cosine' here"),
        ({"weight_decay": 0.0}, "weight_decay: 0.01 there, 0.0 here"),
        ({"learning_rate": 0.02}, "learning_rate: 0.01 there, 0.02 here"),
        ({"max_grad_norm": 0.0}, "max_grad_norm: 1.0 there, 0.0 here"),
        ({"direction": "both"}, "direction: 'query-to-document' there, 'both' here"),
        ({"beta": 0.5}, "beta: 0.0 there, 0.5 here"),
        ({"vocabulary": 500}, "vocabulary: 8192 there, 500 here"),
    ],
)
def test_what_changes_the_result_is_another_run(changed, shown):
    assert shown in differences(
        run_identity(BASE, FACTS), run_identity(with_settings(BASE, **changed), FACTS)
    )


def test_effects_that_depend_on_other_settings():
    learned = with_settings(BASE, objective="infonce:learned(0.06)")
    assert not same(with_settings(learned, temperature_learning_rate=0.5), learned)
    deep = TrainSettings.of(encoder="transformer", width=64)
    facts = dataclasses.replace(FACTS, encoder="transformer")
    assert not same(with_settings(deep, layers=7), deep, facts)
    two = dataclasses.replace(FACTS, sizes=(200, 120))
    assert not same(with_settings(BASE, single_source=True), BASE, two)
    assert "precision: 'float32' there, 'bfloat16' here" in differences(
        run_identity(BASE, FACTS, bfloat16=False), run_identity(BASE, FACTS, bfloat16=True)
    )


def test_data_and_encoders_count_by_content():
    tuned = TrainSettings.of(encoder="/a/base", batch_size=32, steps=20)
    moved = with_settings(tuned, encoder="/b/base")
    assert same(moved, tuned, FINE_TUNED)
    before = run_identity(tuned, FINE_TUNED)
    other = run_identity(tuned, dataclasses.replace(FINE_TUNED, encoder="dd"))
    assert differences(before, other) == "content of --encoder: 'cc' there, 'dd' here"
    other = run_identity(tuned, dataclasses.replace(FINE_TUNED, data="bb"))
    assert differences(before, other) == "content of --data: 'aa' there, 'bb' here"


def test_a_setting_is_of_one_kind_and_a_new_one_counts():
    fields = set(TrainSettings().to_dict())
    groups = [*RESUMABLE_SETTINGS.values(), RESOLVED_SETTINGS, tuple(settings_identity(BASE))]
    assert sorted(name for group in groups for name in group) == sorted(fields)


def test_steps_of_one_source_at_a_time():
    two = dataclasses.replace(FACTS, sizes=(50, 40))
    settings = TrainSettings.of(batch_size=32, epochs=3)
    assert count_steps(settings, two) == 6
    assert count_steps(with_settings(settings, single_source=True), two) == 3 * (1 + 1)
    assert count_steps(with_settings(settings, single_source=True), dataclasses.replace(two, sizes=(70, 20))) == 6  # fmt: skip
    assert count_steps(with_settings(settings, single_source=True), dataclasses.replace(two, sizes=(31, 59))) == 3  # fmt: skip


def test_what_an_earlier_version_wrote():
    """All settings as they were given, the steps and the data's fingerprint; a setting of today was not there."""
    there = {**BASE.to_dict(), "objective": "mrl:0.06", "num_steps": 20, "fingerprint": "aa", "gone": 3}
    there.pop("tau_plus")
    here = run_identity(with_settings(BASE, terms=("16@0.06", "32@0.06", "64@0.06"), log_every=3), FACTS)
    assert not differences(restored_identity(there, FACTS), here)
    assert "seed: 9 there" in differences(restored_identity({**there, "seed": 9}, FACTS), here)
    assert "'bb' there" in differences(restored_identity({**there, "fingerprint": "bb"}, FACTS), here)
    assert "num_steps: 40 there" in differences(restored_identity({**there, "num_steps": 40}, FACTS), here)
    assert "width: 32 there" in differences(
        restored_identity({**there, "width": 32, "terms": ["32@0.1"]}, FACTS), here
    )
    tuned = {**there, "encoder": "base", "width": None}
    assert "'base' there, 'static' here" in differences(restored_identity(tuned, FACTS), here)
    assert restored_identity(here, FACTS) == here
    with pytest.raises(UserError, match="expected seed to be"):
        restored_settings({"seed": "one"})


@pytest.fixture
def base(data_dir):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), width=64, vocabulary=400, batch_size=32, steps=12, log_every=4,
        objective="mrl:0.06",
    )  # fmt: skip


def quiet(metrics):
    """No report."""


def weights(folder):
    return load_encoder(str(folder)).state_dict()


def test_a_run_goes_on_under_other_spellings_to_the_same_bits(base, data_dir, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(base, prepare(base), whole, quiet)
    assert not train(base, prepare(base), parts, quiet, stop_after=5)
    shutil.copy(data_dir / "train.parquet", tmp_path / "copy.parquet")
    other = with_settings(
        base, data=str(tmp_path / "copy.parquet"), terms=("16@0.06", "32@0.06", "64@0.06"), objective="infonce:0.3",
        log_every=1, checkpoint_every=2, learning_rate=0.01, layers=9, epochs=5, precision="float32",
    )  # fmt: skip
    seen = []
    assert train(other, prepare(other), parts, lambda report: seen.append(report["step"]), resume=True)
    assert seen == [6, 7, 8, 9, 10, 11, 12]
    assert all((a == b).all() for a, b in zip(weights(whole).values(), weights(parts).values(), strict=True))
    stamp = (parts / "trained.json").stat().st_mtime_ns
    assert train(base, prepare(base), parts, seen.append, resume=True)  # done: nothing is left to do
    assert len(seen) == 7
    assert (parts / "trained.json").stat().st_mtime_ns == stamp


def test_other_data_under_the_same_name_is_refused(base, tmp_path):
    path = tmp_path / "pairs.jsonl"
    settings = with_settings(base, data=str(path))
    path.write_text("\n".join(map(json.dumps, make_rows(320))))
    train(settings, prepare(settings), tmp_path / "run", quiet, stop_after=5)
    path.write_text("\n".join(map(json.dumps, make_rows(320, seed=1))))
    with pytest.raises(UserError, match=r"content of --data: '\w{16}' there, '\w{16}' here; use the same"):
        train(settings, prepare(settings), tmp_path / "run", quiet, resume=True)


def test_a_resume_that_is_refused_leaves_the_trained_model_as_it_is(base, tmp_path):
    train(base, prepare(base), tmp_path, quiet)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = with_settings(base, seed=9)
    with pytest.raises(UserError, match="seed: 0 there, 9 here"):
        train(other, prepare(other), tmp_path, quiet, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert train(base, prepare(base), tmp_path, quiet, resume=True)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with(base, tmp_path):
    train(base, prepare(base), tmp_path / "whole", quiet)
    train(base, prepare(base), tmp_path / "run", quiet, stop_after=5)
    (path,) = checkpoints(tmp_path / "run" / "checkpoints")
    state = json.loads((path / "state.json").read_text())
    before = {**base.to_dict(), "num_steps": 12, "fingerprint": prepare(base).meta["fingerprint"]}
    for name in ("gradient_cache", "micro_batch_tokens"):
        before.pop(name)
    from tempembed.system.checksums import checksums

    (path / "state.json").write_text(json.dumps({**state, "settings": before}))
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    (path / "manifest.json").write_text(json.dumps({"sha256": checksums(path, names)}))
    other = with_settings(base, seed=9)
    with pytest.raises(UserError, match="seed: 0 there, 9 here"):
        train(other, prepare(other), tmp_path / "run", quiet, resume=True)
    assert train(base, prepare(base), tmp_path / "run", quiet, resume=True)
    for a, b in zip(weights(tmp_path / "whole").values(), weights(tmp_path / "run").values(), strict=True):
        assert np.array_equal(a, b)


def test_the_command_goes_on_from_another_folder(data_dir, tmp_path, monkeypatch, capsys):
    """`./pairs.jsonl` for `pairs.jsonl`, and what it wrote names the data by where it is."""
    shutil.copy(data_dir / "train.parquet", tmp_path / "pairs.parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    flags = {"width": 64, "vocabulary": 400, "batch_size": 32, "steps": 12}
    train_command(Train(train=TrainSettings.of(data="pairs.parquet", **flags), output="run", stop_after=5))
    monkeypatch.chdir(tmp_path / "elsewhere")
    train_command(
        Train(
            train=TrainSettings.of(data="./../pairs.parquet", log_every=2, **flags),
            output="../run",
            resume=True,
        )
    )
    assert "step 6/12" in capsys.readouterr().err
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (tmp_path / "pairs.parquet").samefile(settings["data"])
    assert settings["data"].startswith("/")


def test_a_setting_that_a_checkpoint_does_not_know_had_its_default():
    stored = run_identity(BASE, FACTS, bfloat16=False)
    del stored["schedule"]
    assert same(BASE)
    assert not differences(restored_identity(stored, FACTS), run_identity(BASE, FACTS))
    other = run_identity(with_settings(BASE, schedule="wsd"), FACTS)
    assert differences(restored_identity(stored, FACTS), other) == "schedule: 'linear' there, 'wsd' here"


def test_the_limit_of_an_encoder_made_here_counts_as_what_it_is():
    """Runs of before have 256 in their settings, where none is a default now."""
    none, usual, other = (
        run_identity(TrainSettings.of(max_tokens=limit), FACTS) for limit in (None, 256, 128)
    )
    assert not differences(none, usual)
    assert "max_tokens: 256 there, 128 here" in differences(none, other)
