"""Mined hard negatives against sentence-transformers' `mine_hard_negatives`, and what it does not do."""

import json
import random
from concurrent.futures import Future
from functools import partial

import cloudpickle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
from transformers import BertConfig, BertForSequenceClassification

from tempembed.commands import mine_pairs
from tempembed.commands.mine import Mine, mine, mine_command
from tempembed.commands.train import Train, train_command
from tempembed.data.pairs import read_pairs
from tempembed.data.text_ids import text_ids
from tempembed.index import mining, retriever
from tempembed.run.folder import hold
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.system.in_order import in_order
from tempembed.tracking.jsonl import read_jsonl
from tempembed.tracking.settings import TrackingSettings
from tests import models
from tests.conftest import make_room, small_disk

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


def set_sizes(monkeypatch, places, shard_rows, span_bytes):
    """Of a block of queries, a shard of documents, and what is in memory at a time."""
    monkeypatch.setattr(mining, "BLOCK_PLACES", places)
    monkeypatch.setattr(mine_pairs, "SHARD_ROWS", shard_rows)
    monkeypatch.setattr(retriever, "SPAN_BYTES", span_bytes)


def run(place, tmp_path, said=None, **options):
    """(what the command says, the rows that it wrote)."""
    output = tmp_path / "mined.parquet"
    values = {
        "model": str(place / "model"), "data": str(place / "pairs.parquet"), "output": str(output), "processes": 1
    }  # fmt: skip
    found = mine(Mine(**{**values, **options}), [].append if said is None else said.append)
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
@pytest.mark.parametrize("sizes", [(2**20, 4096, 2**26), (100, 7, 3000)])
def test_it_finds_what_sentence_transformers_finds(monkeypatch, place, tmp_path, ours, theirs, sizes):
    """In one block and one shard; and in many of each, of which some are in memory at a time."""
    set_sizes(monkeypatch, *sizes)
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
        ({"codec": "binary"}, "expected bits to be re-ranked to cosines, which margins go by, got no re-ranking"),
        ({"codec": "bbq"}, "expected codes without corrections beside them"),
        ({"codec": "prefix:64"}, "the model has 32 coordinates, got width 64"),
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


class Elsewhere:
    """A pool as another machine is one: nothing but pickles goes there and comes back. It loses each task's first result."""

    num_workers = 2

    def __init__(self):
        self.functions = []

    def submit(self, function, argument):
        self.functions.append(function.__name__)
        future = Future()
        sent = cloudpickle.dumps((function, argument))
        for _ in range(2):
            there, given = cloudpickle.loads(sent)
            result = cloudpickle.dumps(there(given))
        future.set_result(cloudpickle.loads(result))
        return future


@pytest.mark.parametrize(
    "options",
    [
        {"relative_margin": 0.3, "choice": "random", "ranks": (2, 30)},
        {"codec": "binary+rerank:float:20", "max_score": 0.5},
        {"judge": "judge", "margin": 0.1},
        {"cross_encoder": "cross", "margin": 0.01, "ranks": (0, 6)},
    ],
)
def test_a_pool_elsewhere_finds_the_same_bytes(monkeypatch, place, tmp_path, options):
    set_sizes(monkeypatch, 400, 16, 3000)
    for name in ("judge", "cross_encoder"):
        if name in options:
            options = {**options, name: str(place / options[name])}
    command = {"model": str(place / "model"), "data": str(place / "pairs.parquet"), **options}
    pool, written = Elsewhere(), []
    over = partial(in_order, over=pool)
    for name, elsewhere in (("here", partial(in_order, over=1)), ("there", over)):
        given = Mine(**command, output=str(tmp_path / "mined.parquet"), cache=str(tmp_path / name))
        machine = mine_pairs.Machine(over=elsewhere, embed_over=elsewhere, device="cpu")
        found = mine_pairs.mine_pairs(
            given, tmp_path / "mined.parquet", machine, TrackingSettings(), lambda _: None
        )
        written.append((found, (tmp_path / "mined.parquet").read_bytes()))
        (tmp_path / "mined.parquet").unlink()
    assert written[0] == written[1]
    assert written[0][0].num_negatives > 60
    assert {"encode_part", "search_block", "choose"} <= set(pool.functions)
    assert pool.functions.count("search_block") > 1


def test_processes_find_what_this_one_finds(monkeypatch, place, tmp_path):
    set_sizes(monkeypatch, 400, 4096, 2**26)
    written = []
    for processes in (1, 2):
        found, _ = run(
            place, tmp_path, processes=processes, cache=str(tmp_path / f"{processes}"), device="cpu"
        )
        written.append((found, (tmp_path / "mined.parquet").read_bytes()))
        (tmp_path / "mined.parquet").unlink()
    assert written[0] == written[1]


def test_bits_are_compared_and_re_ranked(monkeypatch, place, tmp_path):
    """Against numpy: the nearest by Hamming distance, of equal ones the later; the best of these by their cosines."""
    set_sizes(monkeypatch, 400, 7, 20)
    _, written = run(place, tmp_path, codec="binary+rerank:float:9", ranks=(0, 5), num_negatives=5)
    model = SentenceTransformer(str(place / "model"), device="cpu")
    texts = list(dict.fromkeys(row["document"] for row in rows()))
    documents = model.encode(texts, normalize_embeddings=True)
    answers: dict[str, list[str]] = {}
    for row in rows():
        answers.setdefault(row["query"], []).append(row["document"])
    for row in written:
        query = model.encode(row["query"], normalize_embeddings=True)
        distances = ((query >= 0) != (documents >= 0)).sum(1)
        near = sorted(range(len(texts)), key=lambda i: (-distances[i], i))[::-1][:9]
        best = [texts[i] for i in sorted(near, key=lambda i: documents[i] @ query)[::-1]]
        # with an answer beside them among the five and the two that are known at most
        want = [text for text in best[: 5 + 2] if text not in answers[row["query"]]][:5]
        assert row["hard_negatives"] == want


def test_a_deep_re_ranking_finds_what_the_exact_search_finds(place, tmp_path):
    written = []
    for codec in ("float32", "binary+rerank:float:1000"):
        written.append(run(place, tmp_path, codec=codec, relative_margin=0.2)[1])
        (tmp_path / "mined.parquet").unlink()
    assert written[0] == written[1]


def test_it_goes_on_where_it_ended_and_other_margins_search_nothing(monkeypatch, place, tmp_path):
    set_sizes(monkeypatch, 400, 4096, 2**26)
    searched, real = [], mining.search_block
    monkeypatch.setattr(mining, "search_block", lambda block: searched.append(block.path) or real(block))
    options = {"cache": str(tmp_path / "cache")}
    whole, _ = run(place, tmp_path, **options)
    blocks = sorted(tmp_path.glob("cache/nearest/*/*.npz"))
    assert searched == blocks
    assert len(blocks) > 8
    want = (tmp_path / "mined.parquet").read_bytes()
    (tmp_path / "mined.parquet").unlink()
    run(place, tmp_path, **options, margin=0.1, num_negatives=2)
    assert searched == blocks
    (tmp_path / "mined.parquet").unlink()
    blocks[2].unlink()
    blocks[5].write_bytes(blocks[5].read_bytes()[:-50])
    said = []
    again, _ = run(place, tmp_path, said, **options)
    assert searched[len(blocks) :] == [blocks[2], blocks[5]]
    assert f"going on: {len(blocks) - 2} of {len(blocks)} blocks of queries are searched" in said
    assert again == whole
    assert (tmp_path / "mined.parquet").read_bytes() == want
    (metrics, *_) = tmp_path.glob("cache/runs/*/*/mined/metrics.jsonl")
    assert read_jsonl(metrics)[-1]["mine/queries_mined_per_second"] > 0


def test_a_damaged_shard_is_embedded_again(place, tmp_path):
    _, before = run(place, tmp_path, cache=str(tmp_path / "cache"))
    for path in tmp_path.glob("cache/encoded/*/shards/*.code.npy"):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    for path in tmp_path.glob("cache/nearest/*/*.npz"):
        path.unlink()
    (tmp_path / "mined.parquet").unlink()
    assert run(place, tmp_path, cache=str(tmp_path / "cache"))[1] == before


def test_a_full_disk_is_one_line_and_with_room_it_goes_on(monkeypatch, place, tmp_path):
    set_sizes(monkeypatch, 400, 7, 3000)
    _, before = run(place, tmp_path)
    (tmp_path / "mined.parquet").unlink()
    with small_disk(tmp_path, "160k") as disk:
        with pytest.raises(UserError, match=r"expected .* of disk, got .* MB") as caught:
            run(place, tmp_path, cache=str(disk / "cache"))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "mined.parquet").exists()
        there = list(disk.glob("cache/encoded/*/shards/*.parquet"))
        assert there
        make_room(disk, "16m")
        said = []
        assert run(place, tmp_path, said, cache=str(disk / "cache"))[1] == before
        assert any("going on:" in line for line in said)


def test_two_at_work_for_one_output_are_refused(place, tmp_path):
    output = tmp_path / "mined.parquet"
    run(place, tmp_path, cache=str(tmp_path / "cache"))
    output.unlink()
    (folder,) = tmp_path.glob("cache/runs/*")
    with hold(folder, "mine"), pytest.raises(UserError, match="expected no other driver at work on it"):
        run(place, tmp_path, cache=str(tmp_path / "cache"))
    assert not output.exists()
