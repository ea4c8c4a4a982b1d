"""Texts in one row, without padding, are what they are alone: for every family that takes them so, and for the library."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import AutoConfig, AutoModel

from tempembed.encoders.attention import NAME, like_lengths
from tempembed.encoders.load import load_encoder
from tempembed.encoders.unpadded import padded, row, takes_rows
from tempembed.inputs.chunks import length_sorted_chunks
from tempembed.inputs.tokens import Tokens
from tests.models import KINDS, TEXTS, bert, wrapped

MIXED = [*TEXTS, "a", "open", "a", "close the socket and sort the queue " * 3, "render the image " * 200]
TRANSFORMERS = [kind for kind in KINDS if not kind.startswith("static")]
SIZES = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 200, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 1, "head_dim": 16, "bos_token_id": 1, "eos_token_id": 2}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
FAMILIES = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16, **SPECIAL},
    "llama": {},
    "qwen3": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 16},
    "gemma3_text": {**GROUPED, "sliding_window": 16},
}


class Transformer(nn.Module):
    """What `takes_rows` needs of sentence-transformers' module of this name."""

    def __init__(self, family, **changes):
        super().__init__()
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **{**SIZES, **changes})
        self.auto_model = AutoModel.from_config(config, attn_implementation="sdpa").eval()

    def forward(self, features):
        return {**features, "token_embeddings": self.auto_model(**features).last_hidden_state}


def mixed_tokens(vocabulary=300, lengths=(1, 50, 7, 7, 1, 120, 3)):
    draw = np.random.default_rng(3)
    return Tokens.from_lists([draw.integers(0, vocabulary, length).tolist() for length in lengths])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_in_a_row_is_the_text_alone_with_its_gradient(family):
    transformer, tokens = Transformer(family, **FAMILIES[family]).eval(), mixed_tokens()
    parameters = dict(transformer.named_parameters())
    weight_TD = torch.randn(len(tokens.ids), 32)

    def gradients(vectors_TD):
        (vectors_TD * weight_TD).sum().backward()
        found = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
        transformer.zero_grad()
        return found

    each = [torch.from_numpy(tokens.select(np.array([i])).ids).long()[None] for i in range(len(tokens))]
    masked = ({"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in each)
    alone_TD = torch.cat([transformer(text)["token_embeddings"][0] for text in masked])
    want = gradients(alone_TD)
    assert takes_rows(transformer, 300, 170)
    first = 2 if "roberta" in family else 0
    row_TD = transformer(row(tokens, first, torch.device("cpu")))["token_embeddings"][0]
    torch.testing.assert_close(row_TD, alone_TD, atol=2e-6, rtol=1e-5)
    got = gradients(row_TD)
    assert got.keys() == want.keys()
    assert len(got) > 8
    for name in got:
        torch.testing.assert_close(
            got[name], want[name], atol=1e-5 * max(1, want[name].abs().max()), rtol=1e-4
        )


@pytest.mark.parametrize("family", ["mobilebert", "layoutlm"])
def test_a_family_that_is_not_told_where_texts_end_keeps_its_padding(family):
    transformer = Transformer(family)
    assert not takes_rows(transformer, 300, 170)
    assert transformer.auto_model.config._attn_implementation == "sdpa"


def test_attention_that_would_leave_something_out_is_found_by_the_probe(monkeypatch):
    """A window that a family applies by its mask alone, for one: a row has no mask."""
    from transformers.models.bert.modeling_bert import BertSelfAttention

    forward = BertSelfAttention.forward

    def asks(self, *values, **named):
        return forward(self, *values, **named, softcap=30.0)

    monkeypatch.setattr(BertSelfAttention, "forward", asks)
    assert not takes_rows(Transformer("bert"), 300, 170)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_embeddings_and_gradients_are_the_librarys(kind, tmp_path):
    folder = KINDS[kind](tmp_path)
    encoder = load_encoder(str(folder)).eval()
    assert encoder.model[0].auto_model.config._attn_implementation == NAME
    prompt = encoder.role("document").prompt
    library = SentenceTransformer(str(folder), device="cpu").float().eval()
    library.tokenizer.pad_token = library.tokenizer.pad_token or "<end>"
    got_MD = encoder([encoder.prepare(MIXED, encoder.role("document"))])
    want_MD = library(library.preprocess(MIXED, prompt=prompt or None))["sentence_embedding"]
    torch.testing.assert_close(got_MD, want_MD, atol=1e-5, rtol=0)
    weight_MD = torch.randn_like(want_MD)
    (got_MD * weight_MD).sum().backward()
    (want_MD * weight_MD).sum().backward()
    theirs = {name: p.grad for name, p in library.named_parameters() if p.grad is not None}
    ours = {name: p.grad for name, p in encoder.model.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=1e-3)


def test_an_empty_text_among_others_changes_none_of_them(tmp_path):
    encoder = load_encoder(str(KINDS["plain gpt2"](tmp_path)))
    role = encoder.role("document")
    without = encoder.embed(encoder.prepare(TEXTS, role))
    beside = encoder.embed(encoder.prepare([*TEXTS, ""], role))
    torch.testing.assert_close(beside[:-1], without, atol=1e-6, rtol=0)
    assert not beside[-1].any()


def test_the_saved_model_says_nothing_of_rows(tmp_path):
    encoder = load_encoder(str(wrapped(bert(tmp_path / "b"), tmp_path / "m")))
    encoder.save(tmp_path / "saved")
    assert NAME not in "".join(path.read_text() for path in (tmp_path / "saved").rglob("*.json"))
    there = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert there[0].auto_model.config._attn_implementation == "sdpa"
    # and the library on the shared model, whose texts are padded
    shared = encoder.sentence_transformer().encode(MIXED)
    np.testing.assert_allclose(shared, there.encode(MIXED), atol=1e-6)


def test_chunks_are_of_like_size_and_padding_does_not_count():
    lengths = np.random.default_rng(0).integers(1, 129, 300)
    chunks = length_sorted_chunks(lengths, 2048, padded=False)
    sizes = [int(lengths[chunk].sum()) for chunk in chunks]
    assert sorted(np.concatenate(chunks).tolist()) == list(range(300))
    assert max(sizes) <= 2048
    assert len(chunks) <= -(-int(lengths.sum()) // 2048) + 1  # texts are whole
    assert min(sizes) > 0.8 * max(sizes)
    assert (np.diff(lengths[np.concatenate(chunks)]) <= 0).all()
    alone = length_sorted_chunks(np.array([5000, 3]), 2048, padded=False)
    assert [chunk.tolist() for chunk in alone] == [[0], [1]]
    assert length_sorted_chunks(np.zeros(0, int), 2048, padded=False) == []
    assert [len(chunk) for chunk in length_sorted_chunks(np.zeros(3, int), 2048, padded=False)] == [3]


def test_neighbours_of_one_length_are_one_group():
    assert like_lengths(np.array([4, 4, 2, 4])) == ((2, 4), (1, 2), (1, 4))
    assert like_lengths(np.array([3])) == ((1, 3),)


def test_lines_of_a_row():
    tokens = Tokens.from_lists([[1, 2], [3], [4, 5, 6]])
    lines = padded(torch.arange(6.0)[:, None], tokens)
    assert lines[..., 0].tolist() == [[0, 1, 0], [2, 0, 0], [3, 4, 5]]
