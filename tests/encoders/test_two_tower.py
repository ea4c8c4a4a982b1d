"""Queries and documents with encoders of their own: trained, measured, saved and searched as any other model."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
)

from tempembed.encoders.load import load_encoder
from tempembed.encoders.two_tower import TwoTowerEncoder, two_towers
from tempembed.evaluation.store import EmbeddingStore
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage, train_pairs
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tests.models import PROMPTS, TEXTS, WIDTH, bert, static, tokenizer


def routed(folder, *, query="bert", rest=(), dropout=0.1, **config):
    """A Router of a BERT for documents and another, or a table, for queries."""
    documents = [
        Transformer(
            str(bert(folder / "documents", hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout))
        ),
        Pooling(WIDTH),
    ]
    queries = [Transformer(str(bert(folder / "queries", num_hidden_layers=1))), Pooling(WIDTH)]
    if query == "table":
        made = tokenizer()
        generator = torch.Generator().manual_seed(1)
        table = torch.randn(made.get_vocab_size(), WIDTH, generator=generator) * WIDTH**-0.5
        queries = [StaticEmbedding(made, embedding_weights=table)]
    router = Router.for_query_document(queries, documents)
    SentenceTransformer(modules=[router, *rest], device="cpu", **config).save(
        str(folder / "m"), create_model_card=False
    )
    return str(folder / "m")


def embedded(encoder, texts, role):
    return encoder.embed(encoder.prepare(texts, encoder.role(role))).numpy()


def same_as_the_library(folder):
    encoder, library = load_encoder(folder), SentenceTransformer(folder, device="cpu")
    for role, encode in (("query", library.encode_query), ("document", library.encode_document)):
        want = np.stack([encode([text])[0] for text in TEXTS])
        np.testing.assert_allclose(embedded(encoder, TEXTS, role), want, atol=1e-5)


@pytest.mark.parametrize("query", ["bert", "table"])
@pytest.mark.parametrize("rest", [(), (Normalize(),)], ids=["", "normalised"])
def test_each_role_is_embedded_by_its_tower(query, rest, tmp_path):
    folder = routed(tmp_path, query=query, rest=rest, prompts=PROMPTS)
    encoder = load_encoder(folder)
    assert isinstance(encoder, TwoTowerEncoder)
    assert not np.allclose(embedded(encoder, TEXTS, "query"), embedded(encoder, TEXTS, "document"), atol=1e-3)
    same_as_the_library(folder)


@pytest.fixture
def settings(data_dir):
    def make(folder, **more):
        values = {"batch_size": 32, "steps": 4, "log_every": 1, "learning_rate": 0.01, "objective": "mrl:0.1"}
        data = {"data": str(data_dir / "train.parquet"), "eval_data": str(data_dir / "test.parquet")}
        return TrainSettings.of(encoder=folder, **{**data, **values, **more})

    return make


def trained(settings, output):
    reports = []
    output.mkdir()
    assert train_pairs(settings, prepare(settings), output, reports.append)
    return reports


@pytest.mark.parametrize("query", ["bert", "table"])
@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_both_towers_learn_and_the_saved_model_is_a_router(query, cached, settings, tmp_path):
    folder = routed(tmp_path, query=query)
    one = settings(folder, gradient_cache=cached, micro_batch_tokens=60)
    reports = trained(one, tmp_path / "run")
    assert all(np.isfinite(report["train/loss"]) for report in reports)
    saved = str(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "modules.json").read_text())[0]["type"].endswith("Router")
    same_as_the_library(saved)
    before, after = load_encoder(folder), load_encoder(saved)
    for role in ("query", "document"):
        old, new = (dict(encoder.towers()[role].named_parameters()) for encoder in (before, after))
        moved = [not torch.equal(old[name], new[name]) for name in old if "pooler" not in name]
        assert all(moved), role


def test_a_cached_run_equals_a_plain_one(settings, tmp_path):
    folder = routed(tmp_path)
    plain = trained(settings(folder, micro_batch_tokens=80), tmp_path / "plain")
    cached = trained(settings(folder, micro_batch_tokens=80, gradient_cache=True), tmp_path / "cached")
    for a, b in zip(plain, cached, strict=True):
        assert b["train/loss"] == pytest.approx(a["train/loss"], rel=1e-4)
        assert b["train/grad_norm"] == pytest.approx(a["train/grad_norm"], rel=1e-3)


def trained_on_a_rank(settings, prepared, output):
    reports = []
    train_pairs(settings, prepared, output, reports.append)
    return [(report["train/loss"], report["train/grad_norm"]) for report in reports]


@pytest.mark.gloo
@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_two_ranks_are_one(cached, settings, tmp_path):
    """With long documents, whose tower has more chunks than that of the queries."""
    folder = routed(tmp_path, query="table", dropout=0.0)  # which each rank draws for itself
    one = settings(folder, gradient_cache=cached, micro_batch_tokens=80, max_query_tokens=8)
    alone = trained(one, tmp_path / "one")
    (tmp_path / "two").mkdir()
    first, second = run_on_ranks(2, trained_on_a_rank, one, prepare(one), tmp_path / "two")
    assert first == second
    for (loss, norm), report in zip(first, alone, strict=True):
        assert loss == pytest.approx(report["train/loss"], rel=1e-4)
        assert norm == pytest.approx(report["train/grad_norm"], rel=1e-3)


def test_a_table_beside_a_transformer_learns_at_the_rate_of_a_table(settings, tmp_path):
    one = settings(routed(tmp_path, query="table"), learning_rate=None)
    stage = ContrastiveStage(one, prepare(one))
    assert [group["peak"] for group in stage.parameter_groups()] == [0.01, 2e-5]
    learning = [p for p in stage.encoder.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in stage.parameter_groups()) == len(learning)


def test_a_text_of_both_roles_has_two_embeddings_in_the_store(tmp_path):
    encoder = load_encoder(routed(tmp_path))
    store = EmbeddingStore(tmp_path / "cache", encoder)
    query, document = (store.embed(TEXTS, role).numpy() for role in ("query", "document"))
    np.testing.assert_allclose(query, embedded(encoder, TEXTS, "query"), atol=1e-6)
    np.testing.assert_allclose(document, embedded(encoder, TEXTS, "document"), atol=1e-6)


def test_prompts_and_limits_are_the_towers(tmp_path):
    folder = routed(tmp_path)
    encoder = load_encoder(folder, prompts={"query": "find: "}, limits={"document": 5})
    assert encoder.role("query").prompt == "find: "
    assert max(np.diff(encoder.prepare(["a b c d e f g h i"], encoder.role("document")).offsets)) == 5
    other = load_encoder(folder)
    assert encoder.input_fingerprint() != other.input_fingerprint()
    assert encoder.fingerprint() == other.fingerprint()


def test_two_encoders_become_a_router(tmp_path):
    query = load_encoder(str(static(tmp_path / "static", prompts=PROMPTS)))
    document = load_encoder(str(bert(tmp_path / "bert")))
    both = two_towers(query, document)
    both.save(tmp_path / "both")
    again = load_encoder(str(tmp_path / "both"))
    np.testing.assert_allclose(embedded(again, TEXTS, "query"), embedded(query, TEXTS, "query"), atol=1e-6)
    np.testing.assert_allclose(
        embedded(again, TEXTS, "document"), embedded(document, TEXTS, "document"), atol=1e-6
    )
    with pytest.raises(UserError, match=r"expected towers of one width, got .*'document': 16"):
        two_towers(query, load_encoder(str(bert(tmp_path / "narrow", hidden_size=16))))
