"""A query that is a document as well is left out of its own ranking, wherever the ranking is measured."""

import json
import zlib

import datasets
import pytest
import torch
from mteb.abstasks import AbsTaskRetrieval

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec, parse_spec
from tempembed.encoders.role import Role
from tempembed.encoders.static import NO_PROMPTS
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.folder import read_folder
from tempembed.evaluation.mteb_local import corpus_tasks, folder_task, local_task
from tempembed.evaluation.mteb_results import mteb_scores
from tempembed.evaluation.mteb_tasks import to_ours
from tempembed.evaluation.own_text import own_texts
from tempembed.evaluation.probe import Probe
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.store import EmbeddingStore
from tempembed.inputs.tokens import Tokens

WIDTH = 24


class Topics:
    """An encoder: the centre of a text's last word, and noise of its own; equal texts have equal embeddings."""

    width = WIDTH

    def fingerprint(self):
        return "topics"

    def role(self, name, prompt=None):
        return Role(name=name, prompt=prompt or "")

    def tower(self, role):
        return ""

    def prepare(self, texts, role):
        return [" ".join(text.split()) for text in texts]

    def embed(self, texts):
        rows = []
        for text in texts:
            topic = torch.Generator().manual_seed(zlib.crc32(text.split()[-1].encode()))
            own = torch.Generator().manual_seed(zlib.crc32(text.encode()))
            rows.append(torch.randn(WIDTH, generator=topic) + torch.randn(WIDTH, generator=own))
        return torch.stack(rows) if rows else torch.empty(0, WIDTH)


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store", Topics())


def both_orders(num=40, labels=False):
    """Each text is a query and a document; the partner has its topic."""
    pairs = [(f"left {i} topic{i % 8}", f"right {i} topic{i % 8}") for i in range(num)]
    texts = [text for pair in pairs for text in pair]
    return Corpus(
        queries=texts, documents=texts[::-1],
        relevant=[[2 * num - 1 - (i ^ 1)] for i in range(2 * num)],
        labels=[text.split()[-1] for text in texts[::-1]] if labels else [],
    )  # fmt: skip


def full_scores(tasks, embed, **more):
    report = evaluate(tasks, embed, model="m", specs=lambda full: [], **more).report
    return {row.task: row.score for row in report.scores}


def ndcg_by_hand(corpus, embed):
    """Of one right document each, without the query's own text."""
    queries, documents = (
        torch.nn.functional.normalize(embed(texts, role, None))
        for role, texts in (("query", corpus.queries), ("document", corpus.documents))
    )
    scores = queries @ documents.T
    found = 0.0
    for row, (right,) in enumerate(corpus.relevant):
        others = [
            score for i, score in enumerate(scores[row].tolist())
            if i != right and corpus.documents[i].split() != corpus.queries[row].split()
        ]  # fmt: skip
        rank = 1 + sum(score > scores[row, right].item() for score in others)
        found += 1 / torch.log2(torch.tensor(rank + 1.0)).item() if rank <= 10 else 0.0
    return found / len(corpus.queries)


def test_own_texts_are_found_by_text_unless_they_are_right():
    documents = ["a", "b", "a ", " a", "c\n d", "e"]
    found = own_texts(["a", "x", "c d", "e"], documents, [[2], [0], {1: 1.0}, [5]])
    assert found == [[0, 3], [], [4], []]
    assert own_texts(["x", "e"], documents, [[0], [5]]) == []
    assert own_texts([], documents, []) == own_texts(["x"], [], [[]]) == []


def test_a_search_in_both_orders_leaves_the_query_out(store):
    corpus = both_orders()
    score = full_scores(corpus.tasks(), store.embed)["retrieval"]
    assert score == pytest.approx(ndcg_by_hand(corpus, store.embed), abs=1e-6)
    with_itself = Retrieval(
        name="r",
        queries=corpus.queries,
        documents=corpus.documents,
        relevant=Retrieval.of_corpus(corpus).relevant,
    )
    assert score > full_scores([with_itself], store.embed)["r"] + 0.03


def test_a_perfect_model_has_a_perfect_score():
    corpus = both_orders()
    places = {text: i // 2 for i, text in enumerate(corpus.queries)}
    near = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))

    def embed(texts, role, prompt):
        noise = torch.randn(len(texts), WIDTH, generator=torch.Generator().manual_seed(len(role)))
        return torch.stack([near[places[text]] for text in texts]) + 1e-3 * noise

    specs = ["int8", "binary", "binary+rerank:bits:10", "prefix:16+float32", "pca:16+int4"]
    report = evaluate(
        corpus.tasks(), embed, model="m", specs=lambda full: [parse_spec(text, full) for text in specs]
    ).report
    assert len(report.scores) == 1 + len(specs)
    for row in report.scores:
        assert row.score > 0.95, row.spec


def test_it_is_said_once_and_counted(store):
    said = []
    report = evaluate(both_orders(labels=True).tasks(), store.embed, model="m", specs=lambda full: [], say=said.append).report  # fmt: skip
    lines = [line for line in said if "left out of its own ranking" in line]
    assert len(lines) == 1
    assert "80 of retrieval" in lines[0]
    assert report.data.tasks["retrieval"].num_own_texts == 80
    assert report.data.tasks["clustering"].num_own_texts == 0


def test_a_test_without_shared_texts_is_measured_and_named_as_before(store):
    corpus = Corpus(
        queries=[f"q {i} topic{i % 6}" for i in range(40)],
        documents=[f"d {i} topic{i % 6}" for i in range(80)], relevant=[[i] for i in range(40)],
    )  # fmt: skip
    said = []
    task = Retrieval.of_corpus(corpus)
    assert not task.excluded
    assert task.fingerprint == Retrieval(
        name="retrieval", queries=corpus.queries, documents=corpus.documents, relevant=task.relevant
    ).fingerprint  # fmt: skip
    evaluate([task], store.embed, model="m", specs=lambda full: [], say=said.append)
    assert not any("own ranking" in line for line in said)


def test_several_documents_with_the_querys_text_are_all_left_out(store):
    copies = [f"text 0 topic0{' ' * i}" for i in range(15)]  # more than the ten that count
    corpus = Corpus(
        queries=["text 0 topic0", "text 1 topic0"],
        documents=[*copies, "text 1 topic0", "answer topic0", *(f"d {i} topic{i}" for i in range(1, 30))],
        relevant=[[16], [16]],
    )  # fmt: skip
    assert [len(out) for out in corpus.own_texts] == [15, 1]
    score = full_scores(corpus.tasks(), store.embed)["retrieval"]
    assert score == pytest.approx(ndcg_by_hand(corpus, store.embed), abs=1e-6)
    assert score > 0


def test_candidates_that_are_re_ranked_are_as_many_as_without_the_own_text():
    """At a depth of 10 the own texts take no place: the ten candidates are others."""
    generator = torch.Generator().manual_seed(0)
    documents = torch.randn(60, 64, generator=generator)
    documents[:12] = documents[0]
    queries = documents[:1].clone()
    names = [*("own text" for _ in range(12)), *(f"d{i}" for i in range(48))]
    task = Retrieval(
        name="r", queries=["own text"], documents=names, relevant=[{i: 1.0 for i in range(12, 60)}],
        excluded=[list(range(12))],
    )  # fmt: skip
    spec = parse_spec("binary+rerank:bits:10", 64)
    (found,) = task.measure(queries, Documents(documents), [spec])
    assert found[1].value == 1.0


def test_the_candidates_of_reranking_and_the_wrong_document_of_a_pair_are_other_texts():
    corpus = both_orders(labels=True)
    tasks = {task.kind: task for task in corpus.tasks()}
    reranking, pairs = tasks["reranking"], tasks["pair_classification"]
    assert reranking.num_own_texts == 80
    for query, candidates, right in zip(
        reranking.queries, reranking.candidates, reranking.relevant, strict=True
    ):
        assert set(right) <= set(candidates)
        assert query not in [corpus.documents[i] for i in candidates]
    for left, right in zip(pairs.left, pairs.right, strict=True):
        assert corpus.queries[left] != corpus.documents[right]


def test_where_only_the_own_text_has_the_label_there_is_nothing_to_re_rank():
    corpus = Corpus(
        queries=["a", "b"], documents=["a", "x", "b", "y"], relevant=[[1], [3]], labels=["1", "1", "2", "2"]
    )
    assert [task.kind for task in corpus.tasks()] == ["retrieval", "clustering"]


def test_the_probe_leaves_the_query_out(store):
    corpus = both_orders()

    class Encoder:
        width = WIDTH

        def embed(self, tokens):
            texts = (corpus.queries, corpus.documents)[tokens.counts is not None]
            return store.embed(texts, "document")

    tokens = Tokens.from_lists([[i] for i in range(80)])
    probe = Probe((corpus, tokens, tokens.as_bags()), ())
    assert probe(Encoder())["probe/ndcg_at_10"] == pytest.approx(ndcg_by_hand(corpus, store.embed), abs=1e-6)


def test_a_corpus_that_was_saved_leaves_out_the_same(tmp_path):
    corpus = both_orders()
    corpus.save(tmp_path / "task.json")
    again = Corpus.load(tmp_path / "task.json")
    assert again.own_texts == corpus.own_texts
    assert again.fingerprint == corpus.fingerprint


def test_pairs_in_both_orders_as_test_data(store):
    import pyarrow as pa

    from tempembed.data.pairs import Pairs

    pairs = [(f"left {i} topic{i % 8}", f"right {i} topic{i % 8}") for i in range(40)]
    pairs += [(b, a) for a, b in pairs]
    table = pa.table({"query": [q for q, _ in pairs], "document": [d for _, d in pairs]})
    corpus = corpus_from_pairs(Pairs(table=table, source="s"))
    assert sum(map(len, corpus.own_texts)) == 80
    score = full_scores(corpus.tasks(), store.embed)["retrieval"]
    assert score == pytest.approx(ndcg_by_hand(corpus, store.embed), abs=1e-6)


# mteb's own run gives the same score


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))


def compared(theirs, store, folder):
    ours = [task for their in theirs for task in to_ours(their, NO_PROMPTS)]
    want = mteb_scores(theirs, store, name="x", prompts=NO_PROMPTS, output=folder / "mteb")
    assert full_scores(ours, store.embed) == pytest.approx(want, abs=1e-4)
    return {task.name: task for task in ours}, want


def test_mtebs_own_run_of_test_pairs_agrees(store, tmp_path):
    corpus = both_orders(labels=True)
    want = mteb_scores(corpus_tasks(corpus), store, name="c", prompts=NO_PROMPTS, output=tmp_path / "mteb")
    tasks = [task for task in corpus.tasks() if task.kind != "clustering"]
    for name, score in full_scores(tasks, store.embed).items():
        assert score == pytest.approx(want[name], abs=1e-4), name
    assert want["retrieval"] == pytest.approx(ndcg_by_hand(corpus, store.embed), abs=1e-4)


@pytest.mark.parametrize("ranked", [False, True])
def test_a_task_folder_is_measured_without_the_querys_own_text(store, tmp_path, ranked):
    """By the text, twice in the corpus; the same ids stand for unrelated texts and mean nothing."""
    texts = [f"text {i} topic{i % 6}" for i in range(60)]
    corpus = [{"_id": f"x{i}", "text": text} for i, text in enumerate(texts)]
    corpus += [{"_id": f"copy{i}", "text": f"{texts[i]} "} for i in range(10)]
    corpus += [{"_id": "titled", "title": "text 11", "text": "topic5"}]
    # query x(i) is text i + 7: an id that it shares with an unrelated document
    queries = [{"_id": f"x{i}", "text": texts[i + 7]} for i in range(30)]
    qrels = ["query-id\tcorpus-id\tscore"]
    qrels += [f"x{i}\tx{i + 13}\t2" for i in range(30)]
    qrels += [
        "x0\tx7\t1",
        "x1\tx8\t0",
        "x2\tx2\t1",
    ]  # its own text, listed as right; judged wrong; an equal id
    write(tmp_path / "own" / "corpus.jsonl", corpus)
    write(tmp_path / "own" / "queries.jsonl", queries)
    (tmp_path / "own" / "qrels.tsv").write_text("\n".join(qrels))
    if ranked:
        rows = [
            {"query-id": f"x{i}", "corpus-ids": [f"x{(i + k) % 60}" for k in range(0, 39)]} for i in range(30)
        ]
        write(tmp_path / "own" / "top_ranked.jsonl", rows)
    ours, want = compared([folder_task(task) for task in read_folder(tmp_path / "own")], store, tmp_path)
    task = ours["own"]
    assert task.kind == ("reranking" if ranked else "retrieval")
    assert task.num_own_texts == 29 + 1  # x0 keeps its text in the ranking, but not its copy
    if not ranked:
        out = [[task.documents[i] for i in found] for found in task.excluded]
        assert out[0] == [f"{texts[7]}"]  # mteb strips the texts of documents: the copy
        assert out[1] == [texts[8], texts[8]]
        assert out[4] == ["text 11 topic5", "text 11 topic5"]  # one as title and text
        assert out[20] == [texts[27]]
    else:
        assert task.documents.index(texts[8]) not in task.candidates[1]
    assert 0.05 < want["own"] < 0.999


def by_id(identical, relevant=None, ranked=None):
    """Queries with the ids and, up to two words, the texts of documents."""
    documents = {"id": [f"x{i}" for i in range(40)], "text": [f"s {i} topic{i % 6}" for i in range(40)]}
    queries = {"id": [f"x{i}" for i in range(20)], "text": [f"asked {i} topic{i % 6}" for i in range(20)]}
    queries["text"][3] = "s 9 topic3"  # the text of another
    data = {
        "corpus": datasets.Dataset.from_dict({**documents, "title": [""] * 40}),
        "queries": datasets.Dataset.from_dict(queries),
        "relevant_docs": relevant or {f"x{i}": {f"x{(i + 6) % 40}": 1, f"x{i + 12}": 1} for i in range(20)},
        "top_ranked": ranked,
    }  # fmt: skip
    return local_task(
        AbsTaskRetrieval, "ids", "Reranking" if ranked else "Retrieval",
        "map_at_1000" if ranked else "ndcg_at_10", {"default": {"test": data}}, ignore_identical_ids=identical,
    )  # fmt: skip


def test_equal_ids_count_where_mteb_says_so_and_nowhere_else(store, tmp_path):
    loose, _ = compared([by_id(False)], store, tmp_path / "loose")
    strict, _ = compared([by_id(True)], store, tmp_path / "strict")
    assert loose["ids"].num_own_texts == 0  # x9's text is one of x3's answers
    assert strict["ids"].num_own_texts == 20
    other = {f"x{i}": {f"x{i + 12}": 1} for i in range(20)}
    loose, _ = compared([by_id(False, other)], store, tmp_path / "other")
    assert [len(out) for out in loose["ids"].excluded] == [0, 0, 0, 1, *[0] * 16]


def test_equal_ids_of_reranking_are_left_out_as_mteb_does(store, tmp_path):
    ranked = {f"x{i}": [f"x{j}" for j in range(i, i + 20)] for i in range(20)}
    strict, _ = compared([by_id(True, ranked=ranked)], store, tmp_path)
    for i, found in enumerate(strict["ids"].candidates):
        texts = [strict["ids"].documents[j] for j in found]
        assert f"s {i} topic{i % 6}" not in texts
        assert len(texts) == 19


def test_what_has_no_own_text_scores_as_mteb_alone(store, tmp_path):
    """The detour through our search changes nothing of mteb's numbers."""
    import mteb
    from mteb.models import SearchEncoderWrapper

    from tempembed.evaluation.mteb_results import StoredEncoder

    task = by_id(False)
    want = mteb_scores([task], store, name="x", prompts=NO_PROMPTS, output=tmp_path / "ours")
    encoder = StoredEncoder(store, "x", NO_PROMPTS, {})
    plain = mteb.evaluate(SearchEncoderWrapper(encoder), [task], cache=None, show_progress_bar=False)
    assert want["ids"] == float(plain.task_results[0].get_score())


def test_specs_of_any_kind_keep_out_what_is_excluded():
    generator = torch.Generator().manual_seed(0)
    documents = torch.randn(300, 32, generator=generator)
    queries = documents[:40] + 0.1 * torch.randn(40, 32, generator=generator)
    task = Retrieval(
        name="r", queries=["q"] * 40, documents=["d"] * 300, relevant=[{i: 1.0} for i in range(40)],
        excluded=[[i] for i in range(40)],
    )  # fmt: skip
    texts = ("binary", "binary+rerank:float:20", "int4", "random:16:0+float32", "pq:8")
    specs = [Spec(width=32), *(parse_spec(text, 32) for text in texts)]
    found = {str(spec): one.value for spec, one in task.measure(queries, Documents(documents), specs)}
    assert len(found) == len(specs)
    assert set(found.values()) == {0.0}  # the only right document is out


def test_a_task_of_mtebs_own_is_left_as_it_is(tmp_path):
    """Its scores are those of the leaderboard: by ids where the task says so, never by texts."""
    data = {
        "corpus": datasets.Dataset.from_dict(
            {"id": ["a", "b"], "title": ["", ""], "text": ["same x", "other x"]}
        ),
        "queries": datasets.Dataset.from_dict({"id": ["q"], "text": ["same x"]}),
        "relevant_docs": {"q": {"b": 1}},
        "top_ranked": None,
    }
    local = local_task(AbsTaskRetrieval, "t", "Retrieval", "ndcg_at_10", {"default": {"test": data}})
    assert to_ours(local, NO_PROMPTS)[0].excluded == [[0]]
    named = local_task(AbsTaskRetrieval, "t", "Retrieval", "ndcg_at_10", {"default": {"test": data}})
    metadata = named.metadata.model_copy(update={"dataset": {"path": "mteb/t", "revision": "1"}})
    type(named).metadata = metadata
    assert not to_ours(named, NO_PROMPTS)[0].excluded
