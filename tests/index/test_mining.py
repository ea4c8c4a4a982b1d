"""Mined hard negatives against sentence-transformers' `mine_hard_negatives`, and what it does not do."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
from transformers import BertConfig, BertForSequenceClassification

from tempembed.commands.mine import Mine, mine, mine_command
from tempembed.commands.train import Train, train_command
from tempembed.data.pairs import read_pairs
from tempembed.data.text_ids import text_ids
from tempembed.index import mining
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tracking.jsonl import read_jsonl
from tests import models

NUM = 60


def rows(num=NUM, seed=0):
    """Every fifth query has two answers."""
    chance = random.Random(seed)
    words = " ".join(models.TEXTS).split()

    def text(length):
        return " ".join(chance.choice(words) for _ in range(length))

    found = []
    for i in range(num):
        query = text(4) + f" {i}"
        found.append({"query": query, "document": f"{query} {text(5)} d{i}"})
        if i % 5 == 0:
            found.append({"query": query, "document": f"{text(7)} e{i}"})
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mining")
    models.static(folder / "model")
    models.static(folder / "judge", seed=3)
    torch.manual_seed(2)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        **sizes, intermediate_size=64, max_position_embeddings=64, pad_token_id=0, num_labels=1
    )
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()
    models.save_plain(model, models.bert_tokenizer(), folder / "cross")
    pq.write_table(pa.Table.from_pylist(rows()), folder / "pairs.parquet")
    return folder


def run(place, tmp_path, **options):
    """(what the command says, the rows that it wrote)."""
    output = tmp_path / "mined.parquet"
    values = {"model": str(place / "model"), "data": str(place / "pairs.parquet"), "output": str(output)}
    found = mine(Mine(**{**values, **options}))
    return found, pq.read_table(output).to_pylist()


def oracle(place, pairs=None, **options):
    """Sentence-transformers' answer: (query, document) to negatives and scores, best first."""
    model = SentenceTransformer(str(place / "model"), device="cpu")
    found = mine_hard_negatives(
        Dataset.from_list(pairs or rows()),
        model,
        output_format="labeled-list",
        output_scores=True,
        verbose=False,
        **options,
    )
    return {
        (query, documents[0]): dict(zip(documents[1:], scores[1:], strict=True)) | {"": scores[0]}
        for query, documents, scores in zip(found["query"], found["document"], found["scores"], strict=True)
    }


EVERYTHING = {"range_max": 72, "num_negatives": 71}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"num_negatives": 3}, {"num_negatives": 3}),
        ({"num_negatives": 5, "ranks": (7, 30)}, {"num_negatives": 5, "range_min": 7, "range_max": 30}),
        ({"num_negatives": 71, "ranks": (0, 80), "margin": 0.3}, {**EVERYTHING, "absolute_margin": 0.3}),
        ({"num_negatives": 71, "ranks": (0, 80), "relative_margin": 0.4}, {**EVERYTHING, "relative_margin": 0.4}),
        ({"num_negatives": 71, "ranks": (0, 80), "max_score": 0.2}, {**EVERYTHING, "max_score": 0.2}),
        ({"num_negatives": 4, "ranks": (0, 80), "margin": 0.2, "relative_margin": 0.3, "max_score": 0.4},
         {"num_negatives": 4, "range_max": 72, "absolute_margin": 0.2, "relative_margin": 0.3, "max_score": 0.4}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("places", [2**20, 100])
def test_it_finds_what_sentence_transformers_finds(monkeypatch, place, tmp_path, ours, theirs, places):
    monkeypatch.setattr(mining, "BLOCK_PLACES", places)
    want = oracle(place, **theirs)
    found, written = run(place, tmp_path, **ours)
    assert len(written) == len(rows())
    assert [(row["query"], row["document"]) for row in written] == [
        (r["query"], r["document"]) for r in rows()
    ]
    for row in written:
        expected = want.get((row["query"], row["document"]), {"": 0.0})
        assert row["hard_negatives"] == [text for text in expected if text], row
    by_query = {row["query"]: row["hard_negatives"] for row in written}
    assert found.num_negatives == sum(map(len, by_query.values()))
    assert found.num_without == sum(not texts for texts in by_query.values())
    others = ("a known answer", "the query's own text, or its hard negative already")
    within = {
        reason: n for reason, n in found.left_out.items() if reason not in others and "nearest" not in reason
    }
    assert found.num_candidates == found.num_negatives + sum(within.values())


@pytest.mark.parametrize("options", [{"margin": 0.02}, {"relative_margin": 0.05}, {"max_score": 0.5}])
def test_a_cross_encoder_filters_as_in_sentence_transformers(place, tmp_path, options):
    """Of 20 queries: every document is judged for every query."""
    few = rows(20)
    pq.write_table(pa.Table.from_pylist(few), tmp_path / "pairs.parquet")
    names = {"margin": "absolute_margin", "relative_margin": "relative_margin", "max_score": "max_score"}
    cross = CrossEncoder(str(place / "cross"), device="cpu")
    theirs = {names[name]: value for name, value in options.items()}
    want = oracle(place, few, cross_encoder=cross, range_max=24, num_negatives=23, **theirs)
    found, written = run(
        place, tmp_path, data=str(tmp_path / "pairs.parquet"), num_negatives=23, ranks=(0, 30),
        cross_encoder=str(place / "cross"), **options,
    )  # fmt: skip
    assert 0 < found.num_negatives < 300
    for row in written:
        expected = dict(want.get((row["query"], row["document"]), {}))
        got = dict(zip(row["hard_negatives"], row["scores"][1:], strict=True))
        positive = expected.pop("", row["scores"][0])
        assert row["scores"][0] == pytest.approx(positive, abs=1e-5)
        assert got == pytest.approx(expected, abs=1e-5)


def test_other_margins_judge_nothing_again(monkeypatch, place, tmp_path):
    run(place, tmp_path, cross_encoder=str(place / "cross"), ranks=(0, 9))
    monkeypatch.setattr(CrossEncoder, "predict", lambda *_, **__: pytest.fail("judged again"))
    (tmp_path / "mined.parquet").unlink()
    found, _ = run(place, tmp_path, cross_encoder=str(place / "cross"), ranks=(0, 9), margin=0.1)
    assert 0 < found.num_negatives < 60 * 4


def test_a_second_model_judges_and_its_scores_are_trained_on(place, tmp_path):
    _, written = run(place, tmp_path, judge=str(place / "judge"), margin=0.1, num_negatives=2)
    model = SentenceTransformer(str(place / "judge"), device="cpu")
    assert any(row["hard_negatives"] for row in written)
    for row in written:
        texts = [row["document"], *row["hard_negatives"]]
        cosines = model.similarity(model.encode([row["query"]]), model.encode(texts))[0].tolist()
        assert row["scores"] == pytest.approx(cosines, abs=1e-5)
        assert all(score <= row["scores"][0] - 0.1 + 1e-5 for score in row["scores"][1:])
    pairs = read_pairs(str(tmp_path / "mined.parquet"))
    assert pairs.scores == [row["scores"] for row in written]
    assert pairs.hard_negatives == [row["hard_negatives"] for row in written]


def test_known_answers_are_never_mined_copies_in_white_space_included(place, tmp_path):
    table = rows()
    query = table[0]["query"]
    table += [
        {"query": f"  {query.replace(' ', '  ')}", "document": "an answer of the copy of the query"},
        {"query": "another query", "document": table[0]["document"].replace(" ", "\n")},
        {"query": "a third", "document": f"{query} "},  # the first query's own text
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "pairs.parquet")
    found, written = run(
        place, tmp_path, data=str(tmp_path / "pairs.parquet"), ranks=(0, 100), num_negatives=100
    )
    answers: dict[int, set[int]] = {}
    for row in table:
        of_query, of_document = text_ids([row["query"], row["document"]])
        answers.setdefault(of_query, {of_query}).add(of_document)
    for row in written:
        negatives = text_ids(row["hard_negatives"]).tolist()
        assert len(negatives) == len(set(negatives))
        assert not answers[text_ids([row["query"]])[0]] & set(negatives)
    assert found.left_out["the query's own text, or its hard negative already"] == 1
    assert found.left_out["a known answer"] == len(table)
    assert found.num_documents == len(table) - 1


def test_a_random_choice_is_within_the_ranks_and_the_seed_s(place, tmp_path):
    (tmp_path / "all").mkdir()
    _, every = run(place, tmp_path / "all", ranks=(5, 20), num_negatives=100)
    found = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"{len(found)}"
        folder.mkdir()
        found.append(run(place, folder, ranks=(5, 20), num_negatives=4, choice="random", seed=seed)[1])
        for row, of_all in zip(found[-1], every, strict=True):
            assert len(of_all["hard_negatives"]) == 15
            places = [of_all["hard_negatives"].index(text) for text in row["hard_negatives"]]
            assert len(places) == 4
            assert places == sorted(places)
    assert found[0] == found[1] != found[2]


def test_what_the_data_has_stays_and_is_not_mined_again(place, tmp_path):
    table = rows()
    for i, row in enumerate(table):
        row |= {
            "label": f"l{i % 3}",
            "hard_negatives": [f"given {i}", table[i - 9]["document"]] if i % 2 else [],
        }
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "pairs.parquet")
    found, written = run(
        place, tmp_path, data=str(tmp_path / "pairs.parquet"), num_negatives=100, ranks=(0, 200),
        judge=str(place / "judge"),
    )  # fmt: skip
    for row, before in zip(written, table, strict=True):
        given = before["hard_negatives"]
        assert row["label"] == before["label"]
        assert row["hard_negatives"][: len(given)] == given
        assert len(set(row["hard_negatives"])) == len(row["hard_negatives"])
        assert len(row["scores"]) == 1 + len(row["hard_negatives"])
    assert any(text.startswith("given") for row in written[::2] for text in row["hard_negatives"])
    with pytest.raises(UserError, match="it has teacher scores, which new hard negatives would lack"):
        run(place, tmp_path, data=str(tmp_path / "mined.parquet"), output=str(tmp_path / "again.parquet"))
    facts = json.loads(pq.read_metadata(tmp_path / "mined.parquet").metadata[b"tempembed.mined"])
    assert facts["num_negatives"] == found.num_negatives
    assert facts["left_out"] == found.left_out


def test_the_file_is_trained_on_as_it_is(place, tmp_path, capsys):
    mine_command(
        Mine(
            model=str(place / "model"),
            data=str(place / "pairs.parquet"),
            output=str(tmp_path / "mined.parquet"),
        )
    )
    said = capsys.readouterr().out
    assert "240 hard negatives for 60 of 60 queries (4.00 each)" in said
    assert "left out: a known answer" in said
    settings = TrainSettings.of(
        data=str(tmp_path / "mined.parquet"), width=16, vocabulary=300, batch_size=16, steps=2, log_every=1
    )
    train_command(Train(train=settings, output=str(tmp_path / "run")))
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) >= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 3.0}, r"found none for any of 60 queries: of 3000 candidates none is left \(.*within --margin 3"),
        ({"output": "mined.csv"}, "--output: expected a file name that ends in .parquet"),
        ({"model": "nowhere/to-be-found"}, "nowhere/to-be-found"),
        ({"cross_encoder": "."}, "--cross-encoder .: expected a folder with config.json"),
        ({"data": "nothing.parquet"}, "nothing.parquet"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(place, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message.replace("3000", "3,000")) as caught:
        run(place, tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": (5, 5)}, "--ranks: expected two numbers"),
        ({"num_negatives": 0}, "--num-negatives: expected > 0"),
        ({"relative_margin": -0.1}, "--relative-margin: expected >= 0"),
        ({"judge": "a", "cross_encoder": "b"}, "expected --cross-encoder or --judge, got both"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        Mine(model="m", data="d", output="o.parquet", **options)


def test_an_output_that_is_there_stays_and_an_interrupt_leaves_none(place, tmp_path, monkeypatch):
    (tmp_path / "mined.parquet").write_text("mine")
    with pytest.raises(UserError, match="expected a new file"):
        run(place, tmp_path)
    assert (tmp_path / "mined.parquet").read_text() == "mine"
    (tmp_path / "mined.parquet").unlink()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pq.ParquetWriter, "write_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path)
    assert list(tmp_path.iterdir()) == []
