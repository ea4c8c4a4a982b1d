"""Pre-training: exact on any number of workers and micro-batches, after a stop, made longer; what it leaves is an encoder."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForMaskedLM

from tempembed.encoders.load import load_encoder
from tempembed.encoders.masked_shapes import is_from_here
from tempembed.parallel.pool import run_on_ranks
from tempembed.run.checkpoint import checkpoints
from tempembed.settings.flat import changed
from tempembed.settings.pretrain import PretrainSettings
from tempembed.settings.train import TrainSettings
from tempembed.stages.masked_language import MaskedLanguageStage, pretrain_text
from tempembed.stages.utilisation import operations
from tempembed.system.errors import UserError
from tests import run_masked
from tests.masked import toy_shards
from tests.models import bert, wrapped

BASE = PretrainSettings.of(
    encoder="bert", width=32, layers=1, max_tokens=32, batch_tokens=512, steps=10, log_every=1, learning_rate=5e-3, warmup=0.1,
    checkpoint_minutes=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return toy_shards(tmp_path_factory.mktemp("shards") / "s", 300)


def run(settings, shards, folder, **options):
    reports = []
    done = pretrain_text(settings, shards, folder, reports.append, device="cpu", **options)
    return done, reports


def weights(folder):
    return load_file(folder / "masked_lm" / "model.safetensors")


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    done, reports = run(BASE, shards, folder)
    assert done
    return folder, reports


def test_it_learns_and_says_how(trained):
    _, reports = trained
    first, last = reports[0], reports[-1]
    assert last["probe/masked_loss"] < reports[0]["probe/masked_loss"] < np.log(300) + 0.5
    assert last["train/loss"] < first["train/loss"]
    assert 0 < last["train/masked_accuracy"] < 1
    assert last["train/text_share"] > 0.98
    assert 0.97 * 512 < last["train/tokens_per_step"] <= 512
    assert last["train/tokens_per_second"] == pytest.approx(
        10 * last["train/tokens_per_step"] / last["train/seconds"]
    )
    assert last["train/masked_tokens_per_step"] / last["train/tokens_per_step"] == pytest.approx(
        0.27, abs=0.04
    )
    assert last["train/mfu"] > 0
    for name in ("pca95", "isotropy", "uniformity", "half_retrieval", "masked_accuracy"):
        assert np.isfinite(last[f"probe/{name}"]), name


def test_what_it_leaves_is_an_encoder_for_both_libraries_without_a_word(trained, caplog, capfd):
    folder, _ = trained
    with caplog.at_level(logging.WARNING):
        library = SentenceTransformer(str(folder), device="cpu")
        model = AutoModel.from_pretrained(str(folder))
    assert not caplog.records
    assert "MISSING" not in (said := "".join(capfd.readouterr()))
    assert "UNEXPECTED" not in said
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert library.max_seq_length == 32
    encoder = load_encoder(str(folder))
    texts = ["open file", "sort the queue"]
    ours = encoder.embed(encoder.prepare(texts, encoder.role("document")))
    np.testing.assert_allclose(ours, library.encode(texts), atol=1e-5)
    whole = AutoModelForMaskedLM.from_pretrained(str(folder / "masked_lm"))
    for name, value in whole.bert.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    noted = json.loads((folder / "pretrained.json").read_text())
    assert noted["start"] == "scratch"
    assert noted["tokens"] == pytest.approx(10 * 512, rel=0.03)
    assert noted["text"] == "toy-300-3.0"


def test_stage_two_chooses_its_rate_by_where_the_folder_is_from(trained, tmp_path):
    folder, _ = trained
    assert is_from_here(str(folder))
    assert TrainSettings.of(encoder=str(folder)).peak_learning_rate(is_table=False) == 2e-4
    assert TrainSettings.of(encoder=str(tmp_path)).peak_learning_rate(is_table=False) == 2e-5


def test_going_on_from_it_keeps_the_head(trained, shards, tmp_path):
    folder, reports = trained
    again = changed(BASE, encoder=str(folder), width=None, layers=None, steps=3, learning_rate=1e-3)
    _, more = run(again, shards, tmp_path / "more")
    assert more[0]["train/loss"] < reports[0]["train/loss"] - 1
    noted = json.loads((tmp_path / "more" / "pretrained.json").read_text())
    assert (noted["start"], noted["before"]["steps"]) == ("scratch", 10)
    assert noted["tokens"] == pytest.approx(13 * 512, rel=0.03)


def test_a_sentence_transformers_model_keeps_its_modules_and_its_dropout(shards, tmp_path):
    start = wrapped(bert(tmp_path / "bert"), tmp_path / "st", pooling="cls")
    settings = changed(BASE, encoder=str(start), width=None, layers=None, steps=2)
    run(settings, shards, tmp_path / "out")
    before, after = (SentenceTransformer(str(at), device="cpu") for at in (start, tmp_path / "out"))
    assert [type(module) for module in after] == [type(module) for module in before]
    assert after[1].get_config_dict() == before[1].get_config_dict()
    assert after[0].auto_model.config.hidden_dropout_prob == 0.1
    assert not np.allclose(before.encode("open"), after.encode("open"), atol=1e-4)
    assert not is_from_here(str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "pretrained.json").read_text())["start"] == str(start)


def gradients(settings, shards):
    stage = MaskedLanguageStage(settings, shards, "cpu")
    output = stage.forward(stage.batch(0, stage.plan.rows(0)), 0.0, stage.trunk)
    output.loss.backward()
    return output, {name: p.grad for name, p in stage.masked.named_parameters()}


def test_the_gradient_does_not_depend_on_the_micro_batches(shards):
    found = [gradients(changed(BASE, micro_batch_tokens=tokens), shards) for tokens in (32, 96, 4096)]
    for output, gradient in found[1:]:
        assert output.loss.item() == pytest.approx(found[0][0].loss.item(), rel=1e-6)
        for name, value in gradient.items():
            assert (value is None) == (found[0][1][name] is None), name
            if value is not None:
                torch.testing.assert_close(value, found[0][1][name], atol=1e-6, rtol=1e-5)


@pytest.mark.gloo
def test_two_workers_are_one(shards, tmp_path):
    settings = changed(
        BASE, steps=4, micro_batch_tokens=96, batch_warmup=0.5, batch_tokens=32 * 17, max_grad_norm=0.0
    )
    found = run_on_ranks(
        2, run_masked.losses_and_gradients, settings, str(shards.folder), str(tmp_path / "two")
    )
    (losses, first), (again, second) = found
    assert losses == again
    want, _ = run_masked.losses_and_gradients(settings, str(shards.folder), str(tmp_path / "one"))
    assert losses == pytest.approx(want, rel=2e-5)
    _, whole = gradients(settings, shards)
    assert first.keys() == second.keys() == {name for name, value in whole.items() if value is not None}
    for name, value in first.items():
        assert torch.equal(value, second[name])
        torch.testing.assert_close(value, whole[name], atol=1e-6, rtol=1e-6)
    one = weights(tmp_path / "one")
    for name, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, one[name], atol=2e-5, rtol=1e-4)


def test_a_run_that_was_stopped_ends_with_the_same_bits(shards, trained, tmp_path):
    done, _ = run(BASE, shards, tmp_path, stop_after=4)
    assert not done
    assert run(BASE, shards, tmp_path, resume=True)[0]
    want = weights(trained[0])
    assert all(torch.equal(value, want[name]) for name, value in weights(tmp_path).items())


def test_batches_and_masks_are_the_same_on_any_number_of_workers(shards):
    stage = MaskedLanguageStage(changed(BASE, mask_style="bert", length_warmup=0.5), shards, "cpu")
    for step in (0, 7):
        whole = stage.data.batch(step, 0, 1, 10**6, by_length=False)
        parts = [part for rank in range(3) for part in stage.data.batch(step, rank, 3, 64, by_length=False)]
        ids = np.concatenate([part.tokens.ids for part in parts])
        assert np.array_equal(ids, whole[0].tokens.ids)
        assert np.array_equal(np.concatenate([part.targets for part in parts]), whole[0].targets)
        assert np.diff(whole[0].tokens.offsets).max() <= (8 if step == 0 else 32)


def test_a_run_can_be_made_longer_from_before_its_rate_fell(shards, trained, tmp_path):
    """As if it had been so long from the start."""
    run(BASE, shards, tmp_path / "longer")
    assert [path.name for path in checkpoints(tmp_path / "longer" / "checkpoints")] == [
        "step_00000008",
        "step_00000009",
    ]
    said: list[str] = []
    more = changed(BASE, steps=16)
    done, reports = run(more, shards, tmp_path / "longer", resume=True, say=said.append)
    assert done
    assert [report["step"] for report in reports] == [*range(9, 17)]
    assert "goes on from step 8" in said[0]
    run(changed(more, warmup_steps=1), shards, tmp_path / "whole")
    want = weights(tmp_path / "whole")
    assert all(torch.equal(value, want[name]) for name, value in weights(tmp_path / "longer").items())


def test_another_schedule_or_text_is_another_run(shards, tmp_path):
    linear = changed(BASE, schedule="linear", steps=4)
    run(linear, shards, tmp_path, stop_after=2)
    with pytest.raises(UserError, match="num_steps: 4 there, 6 here"):
        run(changed(linear, steps=6), shards, tmp_path, resume=True)
    with pytest.raises(UserError, match="content of --data"):
        run(linear, toy_shards(tmp_path / "other", 310), tmp_path, resume=True)


def test_counted_operations(shards):
    """A layer of BERT has 12 D² weights, the head D² + V D."""
    width, stage = 32, MaskedLanguageStage(BASE, shards, "cpu")
    part = stage.batch(0, stage.plan.rows(0)).parts[0]
    sizes = np.diff(part.tokens.offsets)
    head = (width**2 + shards.vocabulary * width) * len(part.targets)
    want = 6 * (12 * width**2 * sizes.sum() + head) + 12 * width * (sizes**2).sum()
    assert operations(stage.masked, part) == pytest.approx(want)


def test_settings_out_of_range_and_too_little_text(shards, tmp_path):
    with pytest.raises(UserError, match="--width: codesage-small has a size of its own"):
        PretrainSettings.of(encoder="codesage-small", width=64)
    with pytest.raises(UserError, match="one of the two, got both"):
        PretrainSettings.of(tokens=5, steps=5)
    with pytest.raises(UserError, match="at least one sequence"):
        PretrainSettings.of(batch_tokens=100)
    with pytest.raises(UserError, match="at least one batch"):
        MaskedLanguageStage(changed(BASE, batch_tokens=10**6), shards, "cpu")
    assert PretrainSettings.from_dict(BASE.to_dict()) == BASE
