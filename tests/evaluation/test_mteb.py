"""Our numbers are mteb's, the cache is by content, and no model is given another one's scores."""

import json
import zlib

import datasets
import pytest
import torch
from mteb.abstasks import AbsTaskClustering, AbsTaskRetrieval, AbsTaskSummarization

from tempembed.codecs.spec import Spec
from tempembed.encoders.role import Prompts, Role
from tempembed.encoders.static import NO_PROMPTS
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.folder import read_folder
from tempembed.evaluation.mteb_local import corpus_tasks, folder_task, local_task
from tempembed.evaluation.mteb_results import mteb_scores
from tempembed.evaluation.mteb_tasks import to_ours
from tempembed.evaluation.store import EmbeddingStore

WIDTH = 24


class Counting:
    """An encoder whose embedding of a text is its topic's centre and noise; counts what it embeds."""

    width = WIDTH

    def __init__(self, name="a", noise=1.0):
        self.name, self.noise, self.seen = name, noise, []

    def fingerprint(self):
        return self.name

    def role(self, name, prompt=None):
        return Role(name=name, prompt=prompt or "")

    def tower(self, role):
        return ""

    def prepare(self, texts, role):
        return [role.prompt + text for text in texts]

    def embed(self, texts):
        self.seen += texts
        rows = []
        for text in texts:
            topic = torch.Generator().manual_seed(zlib.crc32(text.split()[-1].encode()))
            own = torch.Generator().manual_seed(zlib.crc32((self.name + text).encode()))
            rows.append(torch.randn(WIDTH, generator=topic) + self.noise * torch.randn(WIDTH, generator=own))
        return torch.stack(rows) if rows else torch.empty(0, WIDTH)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every kind of local task."""
    root = tmp_path_factory.mktemp("tasks")
    topics = [f"topic{i}" for i in range(6)]
    documents = [
        {"_id": f"d{i}", "title": "T" if i % 4 else "", "text": f"text {i} {topics[i % 6]}"}
        for i in range(90)
    ]
    queries = [{"_id": f"q{i}", "text": f"question {i} {topics[i % 6]}"} for i in range(30)]
    qrels = ["query-id\tcorpus-id\tscore"]
    qrels += [f"q{i}\td{j}\t{1 + (i + j) % 2}" for i in range(30) for j in (i, i + 6, i + 30)]
    for name in ("search", "order"):
        write(root / name / "corpus.jsonl", documents)
        write(root / name / "queries.jsonl", queries)
        (root / name / "qrels").mkdir()
        (root / name / "qrels" / "test.tsv").write_text("\n".join(qrels))
    ranked = [
        {"query-id": f"q{i}", "corpus-ids": [f"d{(i + k) % 90}" for k in range(0, 60, 3)]} for i in range(30)
    ]
    write(root / "order" / "top_ranked.jsonl", ranked)
    texts = [{"sentences": f"sentence {i} {topics[i % 6]}", "labels": topics[i % 6]} for i in range(120)]
    write(root / "groups" / "test.jsonl", texts)
    sets = [
        {
            "sentences": [t["sentences"] for t in texts[40 * k : 40 * k + 40]],
            "labels": [t["labels"] for t in texts[40 * k : 40 * k + 40]],
        }
        for k in range(3)
    ]
    write(
        root / "sets" / "test.jsonl",
        [{**s, "labels": [f"{x}{i % 2}" for i, x in enumerate(s["labels"])]} for s in sets],
    )
    pairs = [
        {"sentence1": f"one {i} {topics[i % 6]}", "sentence2": f"two {i} {topics[(i * (i % 3)) % 6]}"}
        for i in range(80)
    ]
    same = [p["sentence1"].split()[-1] == p["sentence2"].split()[-1] for p in pairs]
    write(
        root / "similar" / "test.jsonl",
        [{**p, "score": 5.0 * s + i % 3} for i, (p, s) in enumerate(zip(pairs, same, strict=True))],
    )
    write(root / "pairs" / "test.jsonl", [{**p, "labels": int(s)} for p, s in zip(pairs, same, strict=True)])
    rows = [{"text": f"line {i} {topics[i % 6]}", "label": i % 6} for i in range(200)]
    write(root / "classes" / "train.jsonl", rows[:120])
    write(root / "classes" / "test.jsonl", rows[120:])
    return root


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    encoder = Counting()
    store = EmbeddingStore(cache, encoder)
    theirs = [folder_task(task) for task in read_folder(folder)]
    ours = [task for their in theirs for task in to_ours(their, NO_PROMPTS)]
    report = evaluate(
        ours, store.embed, model="m", specs=lambda full: [Spec(width=full, numbers="binary")], raw=True
    ).report
    embedded = len(encoder.seen)
    scores = mteb_scores(theirs, store, name="a", prompts=NO_PROMPTS, output=cache / "mteb")
    return report, scores, encoder, embedded, cache, theirs, ours


def test_our_numbers_are_mtebs(measured):
    report, scores, *_ = measured
    full = {row.task: row for row in report.scores if row.codec == "float32"}
    assert {row.kind for row in full.values()} == {
        "retrieval", "reranking", "clustering", "sts", "pair_classification", "classification"
    }  # fmt: skip
    assert set(full) == set(scores) == {"search", "order", "groups", "sets", "similar", "pairs", "classes"}
    for name, score in scores.items():
        row = full[name]  # where lengths matter mteb takes the vectors as the model gives them
        ours = row.score if row.raw_score is None else row.raw_score
        assert ours == pytest.approx(score, abs=1e-4), name
        assert 0.05 < score < 0.999, name  # neither trivial nor perfect


def test_each_text_is_encoded_once(measured):
    _, _, encoder, embedded, *_ = measured
    assert len(encoder.seen) == len(set(encoder.seen)) == embedded  # mteb's own run added nothing


def test_results_are_in_mtebs_format_under_the_models_own_name(measured):
    cache = measured[4]
    files = {path.stem: path for path in (cache / "mteb").rglob("*.json")}
    assert "search" in files
    assert "tempembed__a" in str(files["search"])
    found = json.loads(files["search"].read_text())
    assert found["scores"]["test"][0]["main_score"] == pytest.approx(measured[1]["search"])


def test_no_model_is_given_the_scores_of_another(measured, folder):
    cache, theirs = measured[4], measured[5]
    other = EmbeddingStore(cache, Counting("b", noise=4.0))
    scores = mteb_scores(theirs, other, name="a", prompts=NO_PROMPTS, output=cache / "mteb")
    assert all(scores[name] != measured[1][name] for name in scores)
    assert scores["search"] < measured[1]["search"]


def test_the_cache_outlives_the_process_and_knows_prompts(measured):
    cache = measured[4]
    encoder = Counting()
    store = EmbeddingStore(cache, encoder)
    texts = measured[6][0].documents
    first = store.embed(texts, "document")
    assert encoder.seen == []
    assert torch.equal(first, Counting().embed(list(texts)))
    prompted = store.embed(texts[:3], "query", "query: ")
    assert encoder.seen == [f"query: {text}" for text in texts[:3]]
    assert not torch.equal(prompted, first[:3])
    assert EmbeddingStore(cache, Counting("c")).embed(["x topic1"], "document").shape == (1, WIDTH)


def test_prompts_of_the_model_are_mtebs(measured, folder):
    task = folder_task(next(t for t in read_folder(folder) if t.kind == "retrieval"))
    prompts = Prompts.of_config({"prompts": {"query": "Q: ", "document": "D: "}}, {})
    ours = to_ours(task, prompts)[0]
    assert (ours.query_prompt, ours.document_prompt) == ("Q: ", "D: ")
    encoder = Counting()
    store = EmbeddingStore(measured[4] / "prompts", encoder)
    row = evaluate([ours], store.embed, model="m", specs=lambda full: []).report.scores[0]
    before = len(encoder.seen)
    found = mteb_scores([task], store, name="p", prompts=prompts, output=measured[4] / "p")
    assert len(encoder.seen) == before
    assert row.score == pytest.approx(found["search"], abs=1e-4)


def as_mteb(ours, store):
    """Our scores at full precision; where lengths matter, of the vectors as the model gives them."""
    rows = evaluate(ours, store.embed, model="m", specs=lambda full: [], raw=True).report.scores
    return {row.task: row.score if row.raw_score is None else row.raw_score for row in rows}


def test_levels_fractions_and_identical_ids_as_mteb_has_them(tmp_path):
    rows = [
        {"sentences": f"s {i} topic{i % 6}", "labels": [f"a{i % 2}", f"b{i % 6}"][: 1 + i % 2]}
        for i in range(300)
    ]
    data = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    size = {"max_fraction_of_documents_to_embed": 0.5, "max_documents_per_cluster": 60, "n_clusters": 4}
    levels = local_task(AbsTaskClustering, "levels", "Clustering", "v_measure", data, **size)
    ids = [f"x{i}" for i in range(40)]
    texts = {"id": ids, "text": [f"s {i} topic{i % 6}" for i in range(40)]}
    same = {
        "corpus": datasets.Dataset.from_dict({**texts, "title": [""] * 40}), "queries": datasets.Dataset.from_dict(texts),
        "relevant_docs": {ids[i]: {ids[(i + 6) % 40]: 1, ids[(i + 12) % 40]: 1} for i in range(40)}, "top_ranked": None,
    }  # fmt: skip
    itself = local_task(
        AbsTaskRetrieval,
        "itself",
        "Retrieval",
        "ndcg_at_10",
        {"default": {"test": same}},
        ignore_identical_ids=True,
    )
    store = EmbeddingStore(tmp_path, Counting())
    theirs = [levels, itself]
    ours = [task for their in theirs for task in to_ours(their, NO_PROMPTS)]
    want = mteb_scores(theirs, store, name="l", prompts=NO_PROMPTS, output=tmp_path / "mteb")
    assert as_mteb(ours, store) == pytest.approx(want, abs=1e-4)
    assert len(ours[0].samples) == 8


def test_a_query_without_a_right_document_counts_as_mteb_counts_it(tmp_path):
    texts = {"id": [f"x{i}" for i in range(40)], "text": [f"s {i} topic{i % 6}" for i in range(40)]}
    queries = {"id": ["a", "b", "c"], "text": ["q topic1", "q topic2", "q topic3"]}
    data = {
        "corpus": datasets.Dataset.from_dict({**texts, "title": [""] * 40}), "queries": datasets.Dataset.from_dict(queries),
        "relevant_docs": {"a": {"x1": 1, "x7": 1}, "b": {"x2": 0}, "c": {"x3": 1, "x9": 2}}, "top_ranked": None,
    }  # fmt: skip
    task = local_task(AbsTaskRetrieval, "judged", "Retrieval", "ndcg_at_10", {"default": {"test": data}})
    store = EmbeddingStore(tmp_path, Counting())
    row = evaluate(to_ours(task, NO_PROMPTS), store.embed, model="m", specs=lambda full: []).report.scores[0]
    want = mteb_scores([task], store, name="j", prompts=NO_PROMPTS, output=tmp_path / "mteb")
    assert row.score == pytest.approx(want["judged"], abs=1e-4)
    assert row.num_items == 3


def test_summaries_as_mteb_rates_them(tmp_path):
    rows = [
        {
            "text": f"t {i}", "machine_summaries": [f"machine {i} {j} topic{(i + j) % 3}" for j in range(6)],
            "human_summaries": [f"human {i} {j} topic{i % 3}" for j in range(3)],
            "relevance": [float((j * 7 + i) % 5) for j in range(6)] if i else [1.0] * 6,
        }
        for i in range(12)
    ]  # fmt: skip
    data = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    scale = {"min_score": 0, "max_score": 5}
    task = local_task(AbsTaskSummarization, "summaries", "Summarization", "cosine_spearman", data, **scale)
    store = EmbeddingStore(tmp_path, Counting())
    row = evaluate(to_ours(task, NO_PROMPTS), store.embed, model="m", specs=lambda full: []).report.scores[0]
    want = mteb_scores([task], store, name="s", prompts=NO_PROMPTS, output=tmp_path / "mteb")
    assert row.score == pytest.approx(want["summaries"], abs=1e-4)


def test_the_corpus_as_mtebs_tasks(tmp_path):
    from tempembed.evaluation.corpus import Corpus

    corpus = Corpus(
        queries=[f"question {i} topic{i % 6}" for i in range(40)],
        documents=[f"text {i} topic{i % 6}" for i in range(120)],
        relevant=[[i, i + 60] if i % 2 else [i] for i in range(40)], labels=[f"m{i % 3}" for i in range(120)],
    )  # fmt: skip
    store = EmbeddingStore(tmp_path, Counting())
    want = mteb_scores(corpus_tasks(corpus), store, name="c", prompts=NO_PROMPTS, output=tmp_path / "mteb")
    assert set(want) == {"retrieval", "clustering", "reranking", "pair_classification"}
    assert as_mteb(corpus.tasks(), store) == pytest.approx(want, abs=1e-4)


def test_what_clustering_keeps_is_measured_against_unit_vectors(measured):
    """A codec that changes nothing but the lengths keeps everything, whatever they were."""
    *_, ours = measured
    embed = EmbeddingStore(measured[4] / "lengths", Counting()).embed
    lengths = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) * 9 + 1

    def stretched(texts, role, prompt):
        return embed(texts, role, prompt) * lengths[: len(texts), None]

    tasks = [task for task in ours if task.kind in ("clustering", "classification")]
    assert {task.kind for task in tasks} == {"clustering", "classification"}
    before = evaluate(tasks, embed, model="m", raw=True, specs=lambda full: [Spec(width=12)]).report.scores
    after = evaluate(tasks, stretched, model="m", raw=True, specs=lambda full: [Spec(width=12)]).report.scores
    for row, other in zip(before, after, strict=True):
        assert row.score == pytest.approx(other.score, abs=0.02), row.task
    assert any(row.raw_score != other.raw_score for row, other in zip(before, after, strict=True))
