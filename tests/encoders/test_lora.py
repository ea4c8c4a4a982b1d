"""Low-rank adapters: peft itself is the oracle of what they compute and of the files."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from tempembed.encoders.adapter_folder import save_adapter
from tempembed.encoders.load import load_encoder
from tempembed.encoders.lora import add_adapter, merged
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import TEXTS, bert, change_json, gpt2, llama, static, wrapped
from tests.runs import run

KINDS = {"bert": bert, "gpt2": gpt2, "llama": llama}


# transformers warns of a name that peft's own wrapper uses
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")


def adapted(base, *, rank=4, stir=True, **more):
    encoder = load_encoder(str(base))
    add_adapter(encoder, str(base), rank=rank, seed=1, **more)
    if stir:  # as if it was trained
        torch.manual_seed(2)
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return encoder


def embed(encoder):
    return encoder.embed(encoder.prepare(TEXTS, encoder.role("document"))).numpy()


def bits(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(tmp_path, kind):
    base = KINDS[kind](tmp_path)
    encoder = adapted(base, stir=False)
    np.testing.assert_array_equal(embed(encoder), embed(load_encoder(str(base))))
    names = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert names
    assert all(".lora_" in name for name in names)
    assert not [name for name in names if "pooler" in name]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_files_are_pefts_and_the_saved_model_is_merged(tmp_path, kind):
    base = KINDS[kind](tmp_path / "base")
    encoder = adapted(base)
    before, want = bits(encoder), embed(encoder)
    assert np.abs(want - embed(load_encoder(str(base)))).max() > 1e-2
    save_adapter(encoder, tmp_path / "adapter")
    encoder.save(tmp_path / "merged")
    after = bits(encoder)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    np.testing.assert_array_equal(embed(encoder), want)

    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(base), tmp_path / "adapter").eval()
    tokens = encoder._padded(encoder.prepare(TEXTS, encoder.role("document")))
    with torch.no_grad():
        hidden = theirs(**tokens).last_hidden_state
        ours = encoder.model[0](tokens)["token_embeddings"]
    real = tokens["attention_mask"].bool()
    torch.testing.assert_close(ours[real], hidden[real], rtol=1e-5, atol=1e-5)

    loaded = SentenceTransformer(str(tmp_path / "merged"), device="cpu")
    np.testing.assert_allclose(loaded.encode(TEXTS), want, atol=1e-5)
    assert not [name for name in loaded.state_dict() if "lora" in name]
    again = load_encoder(str(tmp_path / "adapter"), keep_adapter=True)
    np.testing.assert_array_equal(embed(again), want)
    np.testing.assert_allclose(embed(load_encoder(str(tmp_path / "adapter"))), want, atol=1e-5)


def test_an_adapter_that_peft_wrote_is_read(tmp_path):
    """Without our fingerprint: what fits is taken."""
    from peft import LoraConfig, get_peft_model

    base = bert(tmp_path / "base")
    torch.manual_seed(3)
    model = get_peft_model(
        AutoModel.from_pretrained(base), LoraConfig(r=3, target_modules=["query"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "adapter")
    encoder = load_encoder(str(tmp_path / "adapter"))
    tokens = encoder._padded(encoder.prepare(TEXTS, encoder.role("document")))
    with torch.no_grad():
        want = model.eval()(**tokens).last_hidden_state
        got = encoder.model[0](tokens)["token_embeddings"]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_within_merged_the_model_is_of_its_own_class(tmp_path):
    base = bert(tmp_path)
    encoder = adapted(base)
    with merged(encoder):
        assert bits(encoder).keys() == bits(load_encoder(str(base))).keys()
        inside = embed(encoder)
    np.testing.assert_allclose(inside, embed(encoder), atol=1e-5)


def test_an_adapter_for_another_base_is_one_line(tmp_path):
    base, other = bert(tmp_path / "base"), bert(tmp_path / "other", hidden_size=64)
    folder = tmp_path / "adapter"
    save_adapter(adapted(base), folder)
    files = {path: path.read_bytes() for path in folder.iterdir()}

    def refused(match):
        with pytest.raises(UserError, match=match) as caught:
            load_encoder(str(folder))
        assert "\n" not in str(caught.value)
        for path, content in files.items():
            path.write_bytes(content)

    weights = load_file(base / "model.safetensors")
    save_file(
        {k: v + 1e-3 for k, v in weights.items()}, base / "model.safetensors", metadata={"format": "pt"}
    )
    refused(r"expected the base that it was trained on, got another in .*base': its weights were \w+ when")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    load_encoder(str(folder))

    change_json(folder / "adapter_config.json", base_model_name_or_path=str(other))
    (folder / "base.json").unlink()
    refused(r"got another in .*other': .*lora_A.* is \(4, 32\) in the adapter and would be \(4, 64\)")
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(llama(tmp_path / "llama")))
    (folder / "base.json").unlink()
    refused(r"got another in .*llama': Target modules .* not found")
    change_json(
        folder / "adapter_config.json", base_model_name_or_path=str(bert(tmp_path / "d", num_hidden_layers=1))
    )
    (folder / "base.json").unlink()
    refused(r"of the layers are not in both")
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(static(tmp_path / "s")))
    (folder / "base.json").unlink()
    refused(r"expected a transformer, got an encoder without layers")
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    refused("model '.*gone': expected a local model folder")
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(folder))
    refused("which is an adapter itself")
    change_json(folder / "adapter_config.json", base_model_name_or_path=None)
    (folder / "base.json").unlink()
    refused("expected base_model_name_or_path in its adapter_config.json, got none")
    change_json(folder / "adapter_config.json", peft_type="IA3")
    refused("expected a LoRA adapter of peft, got")
    change_json(folder / "adapter_config.json", modules_to_save=["pooler"])
    refused("expected a LoRA adapter of peft, got one with modules_to_save")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    refused("expected a whole safetensors file")


def test_what_cannot_be_adapted(tmp_path):
    with pytest.raises(UserError, match="--lora-rank: expected a transformer, got an encoder without layers"):
        adapted(static(tmp_path / "s"))
    with pytest.raises(
        UserError, match=r"--lora-targets: expected modules of this BertModel, as dense, key.*not found"
    ):
        adapted(bert(tmp_path / "b"), targets=["q_proj"])
    for values, message in (
        ({"lora_alpha": 3.0}, "--lora-alpha: expected --lora-rank"),
        ({"lora_targets": ("query",)}, "--lora-targets: expected --lora-rank"),
        ({"lora_rank": 0}, "--lora-rank: expected > 0"),
        ({"lora_rank": 4, "encoder": "static"}, "--lora-rank: expected a loaded model, got static"),
    ):
        with pytest.raises(UserError, match=message):
            TrainSettings.of(**values)


def test_without_peft_the_core_imports_and_the_flag_says_what_to_install(tmp_path):
    base = bert(tmp_path)
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from tempembed.encoders.load import load_encoder\nfrom tempembed.encoders.lora import add_adapter\n"
        f"encoder = load_encoder({str(base)!r})\nencoder.save(__import__('pathlib').Path({str(tmp_path / 'saved')!r}))\n"
        "add_adapter(encoder, 'x', rank=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (tmp_path / "saved" / "modules.json").exists()
    assert "expected the library peft, which is not installed; pip install 'tempembed[lora]'" in done.stderr


@pytest.fixture(scope="module")
def settings(data_dir, tmp_path_factory):
    base = wrapped(bert(tmp_path_factory.mktemp("base") / "b"), tmp_path_factory.mktemp("model") / "m")
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(base), batch_size=24, steps=6, log_every=1, max_tokens=24,
        lora_rank=4, lora_dropout=0.1, learning_rate=0.02,
    )  # fmt: skip


def test_a_run_writes_model_and_adapter_learns_and_resumes_to_the_bit(settings, tmp_path):
    reports = run(settings, tmp_path / "whole")
    assert reports[-1]["train/loss"] < 0.9 * reports[0]["train/loss"]
    assert run(with_settings(settings, gradient_cache=True), tmp_path / "cached")[0][
        "train/loss"
    ] == pytest.approx(reports[0]["train/loss"], rel=1e-5)
    run(settings, tmp_path / "parts", stop_after=2)
    (checkpoint,) = (tmp_path / "parts" / "checkpoints").iterdir()
    assert all(".lora_" in name for name in load_file(checkpoint / "model.safetensors"))
    run(settings, tmp_path / "parts", resume=True)
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / file), load_file(tmp_path / "parts" / file)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert SentenceTransformer(str(tmp_path / "whole"), device="cpu").encode("open").shape == (32,)
    assert (
        json.loads((tmp_path / "whole" / "adapter" / "base.json").read_text())["name"]
        == settings.model.encoder
    )


def test_an_adapter_is_gone_on_with(settings, tmp_path):
    run(settings, tmp_path / "one")
    adapter = str(tmp_path / "one" / "adapter")
    more = with_settings(settings, encoder=adapter, lora_dropout=0.0)
    reports = run(more, tmp_path / "two")
    assert reports[0]["train/loss"] < run(settings, tmp_path / "again")[0]["train/loss"]
    base = json.loads((tmp_path / "two" / "adapter" / "base.json").read_text())
    assert base["name"] == settings.model.encoder
    for changed, message in (
        ({"lora_rank": 8}, "--lora-rank: expected the rank 4 and the scale 8 of the adapter"),
        ({"lora_alpha": 3.0}, "--lora-rank: expected the rank 4"),
        ({"lora_targets": ("query",)}, "--lora-targets: expected those of the adapter"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(with_settings(more, **changed))
    full = with_settings(more, lora_rank=None, steps=2, learning_rate=1e-4)
    run(full, tmp_path / "full")
    assert not (tmp_path / "full" / "adapter").exists()
    other = with_settings(settings, lora_rank=8)
    run(settings, tmp_path / "p", stop_after=2)
    with pytest.raises(UserError, match="lora_rank: 4 there, 8 here"):
        run(other, tmp_path / "p", resume=True)
