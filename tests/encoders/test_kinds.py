"""Other kinds of model are recognised, and what is wrong with one shows in one line when it is loaded."""

import json

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from tempembed.commands.plan import Plan, plan_command
from tempembed.encoders.load import load_encoder
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import (
    KINDS,
    WIDTH,
    bert,
    bert_tokenizer,
    change_json,
    gpt2,
    llama,
    roberta,
    save_plain,
    static,
    wrapped,
)


def refused(match, name):
    with pytest.raises(UserError, match=match) as caught:
        load_encoder(str(name))
    assert "\n" not in str(caught.value)
    assert str(name) in str(caught.value)


def router(folder):
    base = bert(folder / "b")
    one, two = ([Transformer(str(base)), Pooling(WIDTH)] for _ in range(2))
    made = SentenceTransformer(modules=[Router.for_query_document(one, two)], device="cpu")
    made.save(str(folder / "m"), create_model_card=False)
    return folder / "m"


def headed(kind, folder):
    config = BertConfig(
        vocab_size=300,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
    )
    return save_plain(kind(config), bert_tokenizer(), folder)


def test_sparse_encoders_are_refused(tmp_path):
    SparseEncoder(str(bert(tmp_path / "b")), device="cpu").save(str(tmp_path / "m"))
    refused("got a sparse encoder", tmp_path / "m")
    (tmp_path / "m" / "config_sentence_transformers.json").unlink()  # as earlier versions wrote them
    refused("got a sparse encoder", tmp_path / "m")


def test_cross_encoders_are_refused(tmp_path):
    CrossEncoder(str(bert(tmp_path / "b")), num_labels=1, device="cpu").save(str(tmp_path / "m"))
    refused("got a cross-encoder", tmp_path / "m")
    for file in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (tmp_path / "m" / file).unlink()
    refused("got a BertForSequenceClassification: a cross-encoder or classifier", tmp_path / "m")


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
def test_classifiers_are_refused(kind, tmp_path):
    refused(f"got a {kind.__name__}", headed(kind, tmp_path / "m"))


def test_a_router_is_planned_tower_by_tower(tmp_path):
    with pytest.raises(
        UserError, match="expected one encoder for all texts, got a Router; plan its towers one by one"
    ):
        plan_command(Plan(encoder=str(router(tmp_path)), batch_size=32))


def test_a_router_of_other_routes_is_refused(tmp_path):
    base = bert(tmp_path / "b")
    one, two = ([Transformer(str(base)), Pooling(WIDTH)] for _ in range(2))
    made = SentenceTransformer(modules=[Router({"english": one, "german": two})], device="cpu")
    made.save(str(tmp_path / "m"), create_model_card=False)
    refused("expected a Router with the routes query and document, got english, german", tmp_path / "m")


@pytest.mark.parametrize(
    ("pooling", "want"), [(None, "mean"), ("mean", "mean"), ("cls", "cls"), ("last", "lasttoken")]
)
def test_the_pooling_of_a_plain_transformer_is_said_and_chosen(pooling, want, tmp_path):
    folder = bert(tmp_path / "b")
    encoder = load_encoder(str(folder), pooling=pooling)
    said = f"model {str(folder)!r} is a plain transformer without a pooling: {pooling or 'mean'} is added"
    assert encoder.notes[0].startswith(said)
    assert ("--pooling" in encoder.notes[0]) == (pooling is None)
    reference = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(WIDTH, want)], device="cpu")
    got = encoder.embed(encoder.prepare(["open the matrix"], encoder.role("query")))
    torch.testing.assert_close(
        got, torch.from_numpy(reference.encode(["open the matrix"])), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", ["bert, mean", "static"])
def test_a_pooling_for_a_model_that_has_one_is_refused(kind, tmp_path):
    with pytest.raises(UserError, match="--pooling cls: expected a plain transformer"):
        load_encoder(str(KINDS[kind](tmp_path)), pooling="cls")
    with pytest.raises(UserError, match="--pooling: static has a pooling of its own"):
        TrainSettings.of(pooling="cls")


def test_a_plain_transformer_trains_with_the_pooling_that_was_chosen(data_dir, tmp_path):
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"),
        encoder=str(bert(tmp_path / "b")),
        pooling="cls",
        batch_size=32,
        steps=1,
    )
    said = []
    assert train(settings, prepare(settings, said.append), tmp_path / "run", lambda metrics: None)
    assert any("cls is added" in line for line in said)
    assert SentenceTransformer(str(tmp_path / "run"))[1].pooling_mode == "cls"


def test_a_position_table_that_is_too_short_for_the_limit_is_one_line(tmp_path):
    """RoBERTa counts places from its padding token on: a table of 64 takes 62 tokens."""
    assert load_encoder(str(roberta(tmp_path / "good"))).max_tokens == 64
    refused(
        "expected a model that embeds its longest text, 64 tokens, and it fails",
        roberta(tmp_path / "m", places=64),
    )
    too_long = wrapped(bert(tmp_path / "b"), tmp_path / "long")
    change_json(too_long / "tokenizer_config.json", model_max_length=100)
    change_json(too_long / "sentence_bert_config.json", max_seq_length=100)
    refused("its longest text, 100 tokens", too_long)


def test_a_token_without_a_row_is_one_line(tmp_path):
    folder = wrapped(bert(tmp_path / "b"), tmp_path / "m")
    made = bert_tokenizer()
    made.add_tokens([f"<new{i}>" for i in range(400)])
    made.save_pretrained(folder)
    refused("expected a model that embeds every token of its tokenizer", folder)
    table = static(tmp_path / "table")
    made.backend_tokenizer.save(str(table / "tokenizer.json"))
    with pytest.raises(UserError, match="expected a tokenizer with tokens up to"):
        load_encoder(str(table))


def test_weights_that_are_not_finite_are_one_line(tmp_path):
    model = SentenceTransformer(str(wrapped(bert(tmp_path / "b"), tmp_path / "m")), device="cpu")
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "LayerNorm" in n).fill_(torch.nan)
    model.save(str(tmp_path / "nan"), create_model_card=False)
    refused("expected finite embeddings", tmp_path / "nan")


def test_a_missing_padding_token_is_set_as_the_library_does(data_dir, tmp_path):
    folder = gpt2(tmp_path / "m")
    encoder = load_encoder(str(folder))
    assert "no padding token: '<end>' pads" in encoder.notes[1]
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"), encoder=str(folder), batch_size=32, steps=1
    )
    assert train(settings, prepare(settings), tmp_path / "run", lambda metrics: None)
    there = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    both = there.encode(["open", "close the socket and sort the queue"])
    torch.testing.assert_close(both[0], there.encode(["open"])[0], atol=1e-5, rtol=0)


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(tmp_path):
    folder = gpt2(tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for key in ("eos_token", "unk_token", "bos_token"):
        config.pop(key, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    refused("expected a tokenizer with a padding token, got one without", folder)


@pytest.mark.parametrize("kind", ["plain gpt2", "llama, left padding, last token"])
def test_an_empty_text_without_special_tokens_is_no_token(kind, tmp_path):
    """Alone and beside others: a width of 0 is no batch, and attention to nothing no number."""
    encoder = load_encoder(str(KINDS[kind](tmp_path)))
    role = encoder.role("document")
    alone = encoder.embed(encoder.prepare([""], role))
    beside = encoder.embed(encoder.prepare(["open the matrix", ""], role))
    assert torch.isfinite(beside).all()
    torch.testing.assert_close(alone[0], beside[1])
    torch.testing.assert_close(alone[0], torch.zeros(WIDTH))


def test_a_model_that_reads_texts_in_its_own_way_is_refused(tmp_path):
    folder = wrapped(llama(tmp_path / "b"), tmp_path / "m")
    config = json.loads((folder / "sentence_bert_config.json").read_text())
    config["processing_kwargs"] = {"text": {"max_length": 4, "truncation": True}}
    (folder / "sentence_bert_config.json").write_text(json.dumps(config))
    refused("expected the embeddings of sentence-transformers' own encode, got others", folder)


def test_the_same_kinds_are_recognised_by_every_command(tmp_path, data_dir):
    from tempembed.commands.evaluate import Evaluate, evaluate_command

    CrossEncoder(str(bert(tmp_path / "b")), num_labels=1, device="cpu").save(str(tmp_path / "m"))
    with pytest.raises(UserError, match="got a cross-encoder"):
        evaluate_command(
            Evaluate(
                model=str(tmp_path / "m"),
                data=str(data_dir / "test.parquet"),
                output=str(tmp_path / "r.json"),
            )
        )
