"""A hard negative that a row does not have is not embedded, and the step is exact all the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tempembed.encoders.load import load_encoder
from tempembed.inputs.tokens import Tokens
from tempembed.losses.contrastive import contrastive_loss
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.pair_data import PairData
from tempembed.stages.pair_step import PairStep
from tempembed.stages.prepare import prepare

NUM = 48


def rows(counts):
    """`counts(i)` hard negatives for row i."""
    return [
        {
            "query": f"open box {i}",
            "document": f"def open_{i}()",
            "hard_negatives": [f"def shut_{i}_{k}()" for k in range(counts(i))],
        }
        for i in range(NUM)
    ]


@pytest.fixture
def settings(tmp_path):
    def make(counts, **more):
        path = tmp_path / "negatives.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(counts)))
        values = {
            "width": 32, "vocabulary": 200, "batch_size": 8, "objective": "tempspecmrl", "steps": 4, "log_every": 1,
            "layers": 1, "max_tokens": 24,
        }  # fmt: skip
        return TrainSettings.of(data=str(path), **{**values, **more})

    return make


def bert_without_special_tokens(folder: Path) -> str:
    """A BERT whose tokenizer puts nothing around a text: an empty text has no token at all."""
    words = ["[PAD]", "[UNK]", "open", "box", "def", "shut", "_", "(", ")", *map(str, range(10))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    bert = BertModel(config, add_pooling_layer=False)
    folder.mkdir()
    config.to_json_file(folder / "config.json", use_diff=False)
    save_file(bert.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    fast.save_pretrained(folder)
    module = Transformer(str(folder), max_seq_length=32)
    SentenceTransformer(modules=[module, Pooling(32, "mean")], device="cpu").save(str(folder / "st"))
    return str(folder / "st")


def run(settings, output, **options):
    reports: list = []
    output.mkdir(parents=True, exist_ok=True)
    assert train(settings, prepare(settings), output, reports.append, **options)
    return load_encoder(str(output)).state_dict(), reports


def step_data(settings):
    return PairData(settings, prepare(settings), torch.device("cpu"))


def uneven(i):
    return (0, 2, 1, 0)[i % 4]


@pytest.mark.parametrize(
    "counts", [uneven, lambda i: i % 2, lambda i: 3 * (i == 7), lambda i: 1, lambda i: 0 if i < 40 else 2]
)
def test_only_those_that_are_there_are_embedded(settings, counts):
    data = step_data(settings(counts))
    chosen = np.array([7, 4, 1, 2, 3, 0, 11, 9])
    most = max(map(counts, range(NUM)))
    assert data.num_negatives == most
    batch = data.batch(0, chosen)
    assert sum(map(len, batch.inputs)) == 16 + sum(counts(i) for i in chosen)
    has = batch.has_negative_NB
    want = [[k < counts(i) for i in chosen] for k in range(most)]
    assert has is None if np.all([counts(i) == most for i in range(NUM)]) else has.tolist() == want


def test_an_absent_hard_negative_has_no_token(settings):
    one = settings(uneven, encoder="transformer")
    for k, column in enumerate(prepare(one).hard_negatives):
        lengths = np.diff(column.offsets)
        assert [length > 0 for length in lengths] == [k < uneven(i) for i in range(NUM)]


def test_embeddings_come_back_to_their_places(settings):
    data = step_data(settings(uneven))
    chosen = np.array([2, 0, 1, 5, 3])
    batch = data.batch(0, chosen)
    flat = torch.arange(sum(map(len, batch.inputs)) * 3.0).reshape(-1, 3).requires_grad_()
    queries, documents, negatives = batch.by_role(flat)
    assert queries.tolist() == flat[:5].tolist()
    assert documents.tolist() == flat[5:10].tolist()
    want = torch.zeros(2, 5, 3)
    places = [(0, 0), (0, 2), (0, 3), (1, 2), (1, 3)]  # row 2 has one, rows 1 and 5 have two
    for (k, place), embedding in zip(places, flat.detach()[10:], strict=True):
        want[k, place] = embedding
    assert torch.equal(negatives, want)
    (negatives * torch.ones(2, 5, 3).cumsum(1)).sum().backward()
    assert flat.grad[10:, 0].tolist() == [1, 3, 4, 3, 4]
    assert flat.grad[:10].abs().max() == 0


def test_a_bad_embedding_is_named_by_its_row_and_column(settings):
    data = step_data(settings(uneven))
    rows = data.plan.rows(0)
    names = [data.describe(0, 0, text, 1) for text in range(sum(map(len, data.inputs(rows))))]
    assert len(set(names)) == len(names)
    want = [f"the {role} of pair {row + 1} of" for role in ("query", "document") for row in rows]
    want += [f"the hard negative {k + 1} of pair {r + 1} of" for k in (0, 1) for r in rows if uneven(r) > k]
    assert [name.removesuffix(" the training data") for name in names] == want


class Counting(nn.Module):
    """Passes on, and counts texts and the shortest."""

    def __init__(self, model):
        super().__init__()
        self.model, self.texts, self.shortest = model, 0, 99

    def forward(self, chunks):
        for chunk in chunks:
            self.texts += len(chunk)
            self.shortest = min(self.shortest, int(np.diff(chunk.offsets).min()))
        return self.model(chunks)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["static", "transformer", "without special tokens"])
def test_the_gradient_is_that_of_the_candidates_that_are_there(settings, tmp_path, kind, cached):
    """As from the formula: queries, documents and present hard negatives embedded apart, one matrix of candidates."""
    encoder = bert_without_special_tokens(tmp_path / "bert") if kind.startswith("without") else kind
    one = settings(
        uneven, encoder=encoder, gradient_cache=cached, micro_batch_tokens=40, terms=("32@0.1",),
        width=None if kind.startswith("without") else 32,
    )  # fmt: skip
    prepared = prepare(one)
    run(with_settings(one, steps=1), tmp_path / "model")
    encoder = load_encoder(str(tmp_path / "model")).eval()
    data = PairData(one, prepared, torch.device("cpu"))
    chosen = np.arange(8)
    counted = Counting(encoder)
    batch = data.batch(0, chosen)
    step = PairStep(
        encoder,
        one.loss.resolved(32),
        gradient_cache=cached,
        micro_batch_tokens=one.batches.micro_batch_tokens,
    )
    embeddings = step.embed(batch.inputs, counted)
    assert counted.texts == 16 + 6
    assert counted.shortest > 0
    queries, documents, negatives = batch.by_role(embeddings)
    loss = contrastive_loss(
        queries, documents, one.loss.resolved_terms(32),
        hard_negatives_NBD=negatives, has_negative_NB=batch.has_negative_NB, ids=batch.ids,
    )  # fmt: skip
    loss.objective.backward()
    got = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
    encoder.zero_grad()

    def unit(column, rows):
        tokens = column.select(np.array(rows))
        parts = [encoder([tokens.select(np.array([i]))]) for i in range(len(tokens))]
        return nn.functional.normalize(torch.cat(parts), dim=1)

    present = [[i for i in chosen if uneven(i) > k] for k in (0, 1)]
    candidates = [unit(data.columns[1], chosen)]
    candidates += [unit(data.columns[2 + k], rows) for k, rows in enumerate(present)]
    scores = unit(data.columns[0], chosen) @ torch.cat(candidates).T / 0.1
    want = nn.functional.cross_entropy(scores, torch.arange(8))
    want.backward()
    assert loss.objective.item() == pytest.approx(want.item(), rel=1e-5)
    for a, b in zip(got, (p.grad for p in encoder.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("budget", [60, 0])
@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_a_cached_run_equals_a_plain_one(settings, tmp_path, kind, budget):
    one = settings(uneven, encoder=kind, micro_batch_tokens=budget, direction="both")
    _, plain = run(one, tmp_path / "plain")
    _, cached = run(with_settings(one, gradient_cache=True), tmp_path / "cached")
    for a, b in zip(plain, cached, strict=True):
        assert b["train/loss"] == pytest.approx(a["train/loss"], rel=1e-4)
        assert b["train/grad_norm"] == pytest.approx(a["train/grad_norm"], rel=1e-3)


@pytest.mark.parametrize("cached", [False, True])
def test_a_tokenizer_without_special_tokens_trains(settings, tmp_path, cached):
    folder = bert_without_special_tokens(tmp_path / "bert")
    one = settings(uneven, encoder=folder, width=None, gradient_cache=cached, micro_batch_tokens=16)
    weights, reports = run(one, tmp_path / "out")
    assert all(np.isfinite(report["train/loss"]) for report in reports)
    assert SentenceTransformer(str(tmp_path / "out")).encode(["open box 1"]).shape == (1, 32)
    before = load_encoder(folder).state_dict()
    assert any(not torch.equal(weights[name], before[name]) for name in weights)


def test_rows_without_any_in_whole_batches(settings, tmp_path):
    """Most batches have no hard negative at all."""
    one = settings(lambda i: 2 * (i == 5), encoder="transformer", steps=6)
    _, reports = run(one, tmp_path)
    assert [report["step"] for report in reports] == [1, 2, 3, 4, 5, 6]


def test_an_absent_hard_negative_is_as_no_column(settings, tmp_path):
    """Where the one that is there is never in a batch, the run has the bits of one without hard negatives."""
    with_none = settings(lambda i: 0, steps=3, objective="infonce:0.1")
    prepared = prepare(with_none)
    weights, _ = run(with_none, tmp_path / "none")
    order = PairData(with_none, prepared, torch.device("cpu")).plan.order(0)
    never = int(order[24])  # of the fourth batch
    some, _ = run(settings(lambda i: i == never, steps=3, objective="infonce:0.1"), tmp_path / "some")
    assert all(torch.equal(weights[name], some[name]) for name in weights)


def trained_on_a_rank(settings, prepared, output):
    reports: list = []
    train(settings, prepared, Path(output), reports.append)
    rank, world_size = rank_and_world_size()
    data = PairData(settings, prepared, torch.device("cpu"))
    present = [
        sum(map(len, data.inputs(data.plan.rows(s, rank, world_size)))) - 8
        for s in range(settings.loop.steps)
    ]
    return [(r["train/loss"], r["train/grad_norm"]) for r in reports], present


@pytest.mark.gloo
@pytest.mark.parametrize(
    ("counts", "cached"), [(uneven, False), (lambda i: 2 * (i % 6 == 5), True)], ids=["uneven", "few, cached"]
)
def test_ranks_stay_in_step_also_where_one_has_none(settings, tmp_path, cached, counts):
    one = settings(
        counts, encoder="static", objective="infonce:0.1", direction="both", gradient_cache=cached, steps=6,
        micro_batch_tokens=40,
    )  # fmt: skip
    prepared = prepare(one)
    (tmp_path / "two").mkdir()
    (losses, here), (again, there) = run_on_ranks(2, trained_on_a_rank, one, prepared, str(tmp_path / "two"))
    assert losses == again
    if counts is not uneven:
        assert any(
            bool(a) != bool(b) for a, b in zip(here, there, strict=True)
        )  # one rank has some, one none
        assert any(a == b == 0 for a, b in zip(here, there, strict=True))
    _, reports = run(one, tmp_path / "one")
    for (loss, norm), report in zip(losses, reports, strict=True):
        assert loss == pytest.approx(report["train/loss"], rel=1e-4)
        assert norm == pytest.approx(report["train/grad_norm"], rel=1e-3)
    torch.testing.assert_close(
        load_encoder(str(tmp_path / "two")).state_dict(), load_encoder(str(tmp_path / "one")).state_dict(),
        rtol=2e-3, atol=1e-3,
    )  # fmt: skip


def test_where_all_have_all_nothing_is_placed(settings):
    data = step_data(settings(lambda i: 2))
    chosen = np.arange(8)
    flat = torch.randn(32, 3)
    queries, documents, negatives = data.batch(0, chosen).by_role(flat)
    assert negatives.data_ptr() == flat[16:].data_ptr()  # the same memory: no copy
    assert data.batch(0, chosen).has_negative_NB is None
    assert torch.equal(torch.cat([queries, documents, *negatives]), flat)
    assert isinstance(data.inputs(chosen)[0], Tokens)
