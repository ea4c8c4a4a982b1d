"""A masked language model is asked as alone: texts side by side, the head at masked places, for every family; bad models in one line."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from tempembed.encoders.load_masked_lm import masked_lm, special_around
from tempembed.encoders.masked_lm import MaskedLM
from tempembed.encoders.masked_shapes import SHAPES, build
from tempembed.inputs.sequences import MaskedTexts
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError
from tests.masked import toy_shards
from tests.models import bare_tokenizer, bert, bert_tokenizer, fast, save_plain

SIZES = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 300, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "mask_token_id": 4,
}  # fmt: skip
FAMILIES = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "roberta-prelayernorm": {"pad_token_id": 1},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2},  # its default: two layers in three see 128 tokens
    "eurobert": {},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 16},
    "mobilebert": {
        "hidden_size": 64,
        "embedding_size": 32,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
    },  # attention of its own
}
LENGTHS = (7, 150, 99, 1, 140, 60)
PER_ROW = (2, 3, 1)


def model_of(family):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]})
    return AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")


def some_texts():
    draw = np.random.default_rng(5)
    tokens = Tokens.from_lists([draw.integers(5, 300, length).tolist() for length in LENGTHS])
    places = np.sort(draw.choice(len(tokens.ids), 60, replace=False))
    return MaskedTexts(
        tokens=tokens, places=places, targets=tokens.ids[places].astype(np.int64), per_row=np.array(PER_ROW)
    )


def alone(model, tokens):
    """Logits of each text by itself, by the model's own forward."""
    parts = [
        torch.from_numpy(tokens.select(np.array([i])).ids.astype(np.int64))[None] for i in range(len(tokens))
    ]
    return torch.cat([model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0] for ids in parts])


@pytest.mark.parametrize("form", ["row", "masks", "lines"])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_side_by_side_are_as_alone_with_the_head_at_masked_places(family, form):
    texts, model = some_texts(), model_of(family)
    masked = MaskedLM(model, 200)
    masked.eval()
    if form == "row" and masked.form != "row":
        assert family == "mobilebert"
        return
    assert masked.masked_only
    if form != "row":
        masked.form = form
        model.set_attn_implementation("sdpa")
    if form == "masks" and family == "mobilebert":
        return
    want_MV = alone(model, texts.tokens)[texts.places]
    got_MV = masked.logits(texts)
    off = (got_MV - want_MV).norm(dim=1).max() / want_MV.norm(dim=1).mean()
    assert off < 1e-5
    masked.masked_only = False
    torch.testing.assert_close(masked.logits(texts), got_MV, atol=1e-5, rtol=1e-5)
    loss, right = masked(texts)
    want = torch.nn.functional.cross_entropy(want_MV, torch.from_numpy(texts.targets), reduction="sum")
    torch.testing.assert_close(loss, want, rtol=1e-5, atol=1e-4)
    assert int(right) == int((want_MV.argmax(1).numpy() == texts.targets).sum())


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_form_is_found_also_where_a_row_cannot_be(family, monkeypatch):
    monkeypatch.setattr("tempembed.encoders.masked_lm.takes_rows", lambda *_: False)
    assert MaskedLM(model_of(family), 200).form == "masks"


def test_the_gradient_is_that_of_the_whole_model():
    texts, found = some_texts(), []
    for masked_only in (True, False):
        masked = MaskedLM(model_of("modernbert"), 200)
        masked.masked_only = masked_only
        masked(texts)[0].backward()
        found.append({name: p.grad for name, p in masked.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tied", [True, False])
def test_shapes_have_the_tokenizers_special_ids_and_a_head_of_their_own_or_not(name, tied):
    tokenizer = bert_tokenizer()
    if name.startswith("codesage"):
        shape = SHAPES[name]
        _, config = shape.config(0, 0, 256)
        assert config["num_hidden_layers"] == {"codesage-small": 6, "codesage-base": 24}[name]
        assert config["hidden_size"] == config["intermediate_size"] // 4 == 1024
        return
    model = build(SHAPES[name], tokenizer, width=128, layers=3, max_tokens=64, tied=tied, seed=0)
    config = model.config
    assert (config.pad_token_id, config.mask_token_id, config.bos_token_id) == (0, 4, 2)
    assert max(v for k, v in config.to_dict().items() if k.endswith("_token_id") and isinstance(v, int)) < 300
    is_one = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert is_one is tied
    assert len(model._modules[model.base_model_prefix]._modules) > 1


def test_special_tokens_around_a_text_are_the_tokenizers():
    assert special_around(bert_tokenizer()) == ((2,), (3,))
    assert special_around(fast(bare_tokenizer(), pad_token="<end>")) == ((), ())


def saved(family, folder, tokenizer=None, **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SIZES, **changes})
    kind = AutoModelForCausalLM if family == "llama" else AutoModelForMaskedLM
    return str(save_plain(kind.from_config(config), tokenizer or bert_tokenizer(), folder))


def test_what_is_wrong_with_a_model_is_said_in_a_line(tmp_path):
    shards = toy_shards(tmp_path / "shards", 20)
    load = lambda name, vocabulary=300: masked_lm(name, shards.folder, vocabulary=vocabulary, max_tokens=64)  # noqa: E731
    with pytest.raises(UserError, match="expected a masked language model, got a llama"):
        load(saved("llama", tmp_path / "llama"))
    with pytest.raises(UserError, match="expected a masked language model, got a bert"):
        load(saved("bert", tmp_path / "decoder", is_decoder=True))
    without = fast(bert_tokenizer().backend_tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    with pytest.raises(UserError, match="with a mask token, got one without"):
        load(saved("bert", tmp_path / "maskless", without))
    with pytest.raises(UserError, match="a row for each of the 300 ids of the tokenizer, got 200 rows"):
        load(saved("bert", tmp_path / "small", vocab_size=200))
    with pytest.raises(UserError, match="expected shards of its own tokenizer"):
        load(saved("bert", tmp_path / "other", fast(bare_tokenizer(), pad_token="<end>", mask_token="<end>")))
    with pytest.raises(UserError, match="at most the 32 places"):
        load(saved("bert", tmp_path / "short", max_position_embeddings=32))
    with pytest.raises(UserError, match="could not load it"):
        load(str(tmp_path / "nothing"))


def test_a_model_without_a_head_gets_one_and_one_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    shards = toy_shards(tmp_path / "shards", 20)
    folder = bert(tmp_path / "bert")
    loaded = masked_lm(str(folder), shards.folder, vocabulary=300, max_tokens=64)
    assert "has no head" in loaded.notes[0]
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1.output" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="are missing"):
        masked_lm(str(folder), shards.folder, vocabulary=300, max_tokens=64)
