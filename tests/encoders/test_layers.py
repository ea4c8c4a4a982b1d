"""Layers of models of many kinds: found, frozen, and computed again in the backward."""

import re

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from tempembed.encoders.layers import checkpoint_activations, depths, freeze_layers, layers_of
from tempembed.encoders.load import load_encoder
from tempembed.encoders.reached import reached
from tempembed.system.errors import UserError
from tests.models import TEXTS, bert, gpt2, llama, roberta, static

KINDS = {"bert": bert, "roberta": roberta, "gpt2": gpt2, "llama": llama}
EMBEDDINGS = re.compile(r"\.embeddings\.|\.wte\.|\.wpe\.|\.embed_tokens\.")
LAYER = re.compile(r"\.(?:layer|h|layers)\.(\d+)\.")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_depths_are_those_of_the_names(tmp_path, kind):
    encoder = load_encoder(str(KINDS[kind](tmp_path)))
    found = depths(encoder, "")
    for name, parameter in encoder.named_parameters():
        layer = LAYER.search(name)
        want = int(layer[1]) + 1 if layer else 0 if EMBEDDINGS.search(name) else 3
        assert found[id(parameter)] == (want, 2), name


def test_a_list_of_lists_and_a_table_after_the_layers():
    """T5's relative positions are a table in its first layer, its layers hold lists of parts."""
    config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=3, num_heads=2)
    model = T5EncoderModel(config)
    assert layers_of(model) is model.encoder.block
    found = {name: depths(model, "")[id(p)][0] for name, p in model.named_parameters()}
    assert found["shared.weight"] == 0
    assert found["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] == 1
    assert found["encoder.final_layer_norm.weight"] == 4


@pytest.mark.parametrize(("num", "frozen"), [(0, {0}), (1, {0, 1}), (2, {0, 1, 2})])
def test_frozen_layers(tmp_path, num, frozen):
    encoder = load_encoder(str(llama(tmp_path)))
    freeze_layers(encoder, num)
    of_parameter = depths(encoder, "")
    for parameter in encoder.parameters():
        assert parameter.requires_grad == (of_parameter[id(parameter)][0] not in frozen)


def test_what_has_no_layers_says_so(tmp_path):
    table, small = load_encoder(str(static(tmp_path / "s"))), load_encoder(str(bert(tmp_path / "b")))
    with pytest.raises(UserError, match="--freeze-layers: expected a transformer, got an encoder without"):
        freeze_layers(table, 0)
    with pytest.raises(UserError, match="--gradient-checkpointing: expected a transformer"):
        checkpoint_activations(table)
    with pytest.raises(UserError, match=r"--freeze-layers: expected at most the 2 layers .* got 3"):
        freeze_layers(small, 3)


def test_what_is_reached_is_what_a_backward_reaches(tmp_path):
    encoder = load_encoder(str(bert(tmp_path / "b")))
    encoder.model[0].auto_model.embeddings.requires_grad_(False)
    output = encoder([encoder.prepare(TEXTS[:2], encoder.role("query"))])
    found = reached(output)
    output.sum().backward()
    assert found == {parameter for parameter in encoder.parameters() if parameter.grad is not None}
    assert 0 < len(found) < len(list(encoder.parameters()))


def embedded(folder, kind, again, frozen):
    """Embeddings of one call in training, dropout on, the gradients, and the bytes that were kept for the backward."""
    encoder = load_encoder(str(KINDS[kind](folder)))
    if frozen:
        freeze_layers(encoder, 0)
    if again:
        checkpoint_activations(encoder)
    encoder.train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    kept = []
    torch.manual_seed(5)
    tokens = encoder.prepare(TEXTS, encoder.role("query"))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        output = encoder([tokens])
    output.square().sum().backward()
    return (
        output.detach(),
        {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None},
        sum(kept),
    )


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_layers_that_are_computed_again_give_the_same_bits(tmp_path, kind, frozen):
    plain, want, before = embedded(tmp_path / "a", kind, False, frozen)
    again, got, after = embedded(tmp_path / "b", kind, True, frozen)
    assert torch.equal(plain, again)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert after < before / 2
