"""The same text in the same role has the same vector on every path, for every kind of model."""

import mlflow
import numpy as np
import pytest
import torch
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer

from tempembed.encoders.load import load_encoder
from tempembed.evaluation.mteb_local import corpus_tasks
from tempembed.evaluation.mteb_results import StoredEncoder
from tempembed.evaluation.store import EmbeddingStore
from tempembed.export.export import Source, export
from tempembed.export.provenance import Provenance
from tempembed.index.exported import load_exported
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.prepare import prepare
from tempembed.stages.prepared import Prepared
from tests.conftest import make_rows
from tests.models import KINDS, PROMPTS, bert, wrapped


def one_by_one(encode, texts):
    return np.concatenate([encode([text], convert_to_numpy=True, show_progress_bar=False) for text in texts])


def plain(folder, texts, role):
    model = SentenceTransformer(str(folder), device="cpu")
    return one_by_one({"query": model.encode_query, "document": model.encode_document}[role], texts)


def same(got, want):
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=1e-6 * np.linalg.norm(want, axis=1).max())


def run_of(model, data_dir, **changes):
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"), encoder=str(model),
        batch_size=32, steps=2, **changes,
    )  # fmt: skip
    return settings, prepare(settings)


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_gives_the_same_vector(kind, data_dir, tmp_path):
    model, output = KINDS[kind](tmp_path), tmp_path / "run"
    settings, prepared = run_of(model, data_dir)
    # what training sees: the encoder before the first step on the prepared tokens
    start, rows = load_encoder(str(model)), np.arange(6)
    train_rows = make_rows(320)
    tokens = {"query": prepared.queries.select(rows), "document": prepared.documents.select(rows)}
    reference = SentenceTransformer(str(model), device="cpu").float()
    if reference.tokenizer is not None and getattr(reference.tokenizer, "pad_token_id", 0) is None:
        reference.tokenizer.pad_token = reference.tokenizer.eos_token
    for role, encode in (("query", reference.encode_query), ("document", reference.encode_document)):
        texts = [row[role] for row in train_rows[:6]]
        same(start.eval()([tokens[role]]).detach(), one_by_one(encode, texts))

    assert train(settings, prepared, output, lambda metrics: None)
    corpus, *test_tokens = Prepared(folder=prepared.folder).evaluation()
    exported = export(Source(model=output, provenance=Provenance(codec="float32")), tmp_path / "export", None)
    model = SentenceTransformer(str(output), device="cpu")
    mlflow.sentence_transformers.save_model(model, str(tmp_path / "mlflow"), pip_requirements=[])
    served = mlflow.sentence_transformers.load_model(str(tmp_path / "mlflow"))
    trained = load_encoder(str(output))
    store = EmbeddingStore(tmp_path / "store", trained)
    mtebs = StoredEncoder(EmbeddingStore(tmp_path / "other", trained), "m", trained.prompts, {})
    task = corpus_tasks(corpus)[0]
    for role, texts, of_test in (
        ("query", corpus.queries, test_tokens[0]),
        ("document", corpus.documents, test_tokens[1]),
    ):
        texts, of_test = texts[:8], of_test.select(np.arange(8))
        want = plain(output, texts, role)
        assert np.linalg.norm(want, axis=1).min() > 1e-3
        same(trained.embed(trained.prepare(texts, trained.role(role))), want)
        same(trained.embed(of_test), want)  # the probe's, and those of the run's own evaluation
        same(store.embed(texts, role), want)
        loader = [{"text": texts}]
        same(mtebs.encode(loader, task_metadata=task.metadata, prompt_type=PromptType(role)), want)
        same(plain(exported, texts, role), want)
        same(load_exported(exported).embed(texts, role), want)
        same(
            one_by_one({"query": served.encode_query, "document": served.encode_document}[role], texts), want
        )


def test_roles_with_unlike_prompts_have_unlike_vectors(tmp_path):
    encoder = load_encoder(str(KINDS["bert, cls, prompts"](tmp_path)))
    one, two = (
        encoder.embed(encoder.prepare(["open"], encoder.role(role))) for role in ("query", "document")
    )
    assert (one - two).norm() > 0.01


def test_prompts_that_are_asked_for_are_trained_saved_and_measured(data_dir, tmp_path):
    model = wrapped(bert(tmp_path / "b"), tmp_path / "m", prompts=PROMPTS, default_prompt_name="document")
    settings, prepared = run_of(model, data_dir, query_prompt="find ", document_prompt="")
    assert train(settings, prepared, tmp_path / "run", lambda metrics: None)
    there = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    assert there.prompts == {"query": "find ", "document": ""}
    np.testing.assert_allclose(there.encode_query(["a b"]), there.encode(["find a b"], prompt=""), atol=1e-6)
    np.testing.assert_allclose(there.encode(["a b"]), there.encode_document(["a b"]), atol=1e-6)
    asked = load_encoder(str(model), prompts={"query": "find "})
    assert (asked.role("query").prompt, asked.role("document").prompt) == ("find ", "passage: ")


def test_a_default_prompt_that_was_not_trained_is_not_saved(data_dir, tmp_path):
    """Plain encode of the output is the model that was trained: without a prompt."""
    settings, prepared = run_of(KINDS["bert, default prompt only"](tmp_path), data_dir)
    assert train(settings, prepared, tmp_path / "run", lambda metrics: None)
    there = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    assert there.default_prompt_name is None
    assert there.prompts["classify"] == "count: "
    np.testing.assert_allclose(there.encode(["a b"]), there.encode_query(["a b"]), atol=1e-6)


def test_one_prompt_for_both_roles_is_that_of_plain_encode_too(data_dir, tmp_path):
    settings, prepared = run_of(
        wrapped(bert(tmp_path / "b"), tmp_path / "m"),
        data_dir,
        query_prompt="text: ",
        document_prompt="text: ",
    )
    assert train(settings, prepared, tmp_path / "run", lambda metrics: None)
    there = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    np.testing.assert_allclose(there.encode(["a b"]), there.encode_query(["a b"]), atol=1e-6)
    np.testing.assert_allclose(there.encode(["a b"]), there.encode(["text: a b"], prompt=""), atol=1e-6)


def test_limits_of_training_are_of_a_role_and_stay_out_of_the_output(data_dir, tmp_path):
    model = wrapped(bert(tmp_path / "b"), tmp_path / "m")
    settings, prepared = run_of(model, data_dir, max_tokens=12, max_query_tokens=5)
    lengths = [np.diff(tokens.offsets).max() for tokens in (prepared.queries, prepared.documents)]
    assert lengths == [5, 12]
    test = prepared.evaluation()
    assert np.diff(test[2].offsets).max() > 12  # measured as it is handed over
    assert train(settings, prepared, tmp_path / "run", lambda metrics: None)
    assert SentenceTransformer(str(tmp_path / "run")).max_seq_length == 64
    asked = with_settings(settings, save_max_tokens=True)
    assert train(asked, prepare(asked), tmp_path / "short", lambda metrics: None)
    assert SentenceTransformer(str(tmp_path / "short")).max_seq_length == 12


def test_a_static_table_keeps_its_own_limit(data_dir, tmp_path):
    settings, prepared = run_of(KINDS["static"](tmp_path), data_dir, max_tokens=4)
    assert train(settings, prepared, tmp_path / "run", lambda metrics: None)
    trained = load_encoder(str(tmp_path / "run"))
    assert trained.max_tokens is None
    counts = prepared.documents
    assert np.add.reduceat(counts.counts, counts.offsets[:-1]).max() == 4
    long = trained.prepare(["open " * 50], trained.role("document"))
    assert long.counts.sum() == 50


def test_the_log_says_prompts_and_limits(data_dir, tmp_path):
    model, said = wrapped(bert(tmp_path / "b"), tmp_path / "m", prompts={**PROMPTS, "sts": "x"}), []
    settings, _ = run_of(model, data_dir, max_query_tokens=7)
    prepare(settings, said.append)
    text = "\n".join(said)
    assert "prompts: query 'query: ', document 'passage: ' (the model has others: sts)" in text
    assert "query 7, document 64; the saved model's limit: 64, its weights: float32" in text


def test_tokens_are_found_by_content_not_by_name(data_dir, tmp_path):
    """Another model under the same path, another tokenizer: other tokens; the same model elsewhere: the same folder."""
    model = wrapped(bert(tmp_path / "b"), tmp_path / "m")
    first = run_of(model, data_dir)[1]
    assert run_of(wrapped(bert(tmp_path / "b"), tmp_path / "elsewhere"), data_dir)[1].folder == first.folder
    torch.manual_seed(3)
    model.rename(tmp_path / "old")
    again = run_of(KINDS["llama, left padding, last token"](tmp_path), data_dir)[1]
    assert again.folder != first.folder
    assert run_of(KINDS["bert, cls, prompts"](tmp_path), data_dir)[1].folder not in (
        first.folder,
        again.folder,
    )


def test_a_model_that_changed_after_the_data_was_prepared_is_refused(data_dir, tmp_path):
    settings, prepared = run_of(wrapped(bert(tmp_path / "b"), tmp_path / "m"), data_dir)
    (tmp_path / "m").rename(tmp_path / "old")
    KINDS["llama, left padding, last token"](tmp_path)
    with pytest.raises(ValueError, match="the model was changed meanwhile"):
        train(settings, prepared, tmp_path / "run", lambda metrics: None)
