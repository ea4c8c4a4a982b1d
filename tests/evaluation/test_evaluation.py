import random
import shutil

import numpy as np
import pytest
import pytrec_eval
import torch

from tempembed.codecs.codec import Codec
from tempembed.codecs.lab import Documents
from tempembed.codecs.sets import lab_specs
from tempembed.codecs.spec import Spec, parse_spec
from tempembed.data.pairs import Pairs
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.report_files import load_evaluation, report_files, write_report
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.task import Task
from tempembed.system.errors import UserError
from tests.rows import score_row

M, D = 300, 64


@pytest.fixture(scope="module")
def embedded():
    generator = torch.Generator().manual_seed(0)
    documents = torch.randn(M, D, generator=generator)
    documents[10] = documents[11]  # a tie in every codec
    rng = random.Random(0)
    relevant = [
        {d: rng.choice((1.0, 2.0)) for d in rng.sample(range(M), rng.choice((1, 1, 3, 12)))}
        for _ in range(80)
    ]
    noise = torch.randn(80, D, generator=generator)
    queries = torch.stack([documents[next(iter(r))] for r in relevant]) + 1.5 * noise
    return queries, documents, relevant


def retrieval(relevant, **more):
    return Retrieval(name="r", queries=["q"] * 80, documents=["d"] * M, relevant=relevant, **more)


def trec(scores, relevant, measure, key):
    """trec_eval's own program on the same scores."""
    run = {
        f"q{i}": {f"d{j:05d}": float(s) for j, s in enumerate(row) if s > -1e8}
        for i, row in enumerate(scores)
    }
    judged = {f"q{i}": {f"d{j:05d}": int(g) for j, g in gains.items()} for i, gains in enumerate(relevant)}
    found = pytrec_eval.RelevanceEvaluator(judged, {measure}).evaluate(run)
    return np.mean([found[f"q{i}"][key] for i in range(len(scores))])


def measured(task: Task, queries, documents, specs):
    return {str(spec): found for spec, found in task.measure(queries, Documents(documents), specs)}


def test_every_codec_equals_trec_eval(embedded, monkeypatch):
    monkeypatch.setattr("tempembed.evaluation.retrieval.BLOCK_ELEMENTS", 30 * M)  # several blocks
    queries, documents, relevant = embedded
    specs = [spec for spec in lab_specs(D) if spec.numbers != "pq"]
    got = measured(retrieval(relevant), queries, documents, specs)
    assert len(got) == len(specs)
    for spec in specs:
        codec = Codec.fit(spec.search, documents)
        scores = codec.score(queries, codec.encode(documents))
        if spec.rerank:  # everything outside the first candidates by (Hamming, id) is out of the race
            bits, cut = codec.numbers, codec.cut(documents)
            fine = {
                "bits": lambda b=bits, c=codec, x=cut: b.project(c.cut(queries)) @ b.decode(b.encode(x)).T,
                "float": lambda c=codec, x=cut: c.cut(queries) @ x.T,
            }.get(spec.rerank)
            if fine is None:
                continue
            fine = fine()
            for row, of_query in enumerate(scores.tolist()):
                order = sorted(range(M), key=lambda j, of_query=of_query: (-of_query[j], -j))
                fine[row, order[spec.depth :]] = -1e9
            scores = fine
        want = trec(scores.double(), relevant, "ndcg_cut.10", "ndcg_cut_10")
        assert got[str(spec)].value == pytest.approx(
            want, abs=2e-3 if spec.numbers in ("itq", "rotated") else 1e-6
        ), spec


def test_a_query_is_not_its_own_answer(embedded):
    queries, documents, relevant = embedded
    excluded = [[int((queries[i] @ documents.T).argmax())] for i in range(80)]
    excluded[3] = []
    excluded[5] += [7, 8]
    got = measured(
        retrieval(relevant, excluded=excluded), queries, documents, [Spec(width=D), parse_spec("binary", D)]
    )
    scores = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(documents).T
    for row, out in enumerate(excluded):
        scores[row, out] = -1e9
    assert got["prefix:64+float32"].value == pytest.approx(
        trec(scores, relevant, "ndcg_cut.10", "ndcg_cut_10"), abs=1e-6
    )


def test_reranking_equals_trec_eval(embedded):
    queries, documents, relevant = embedded
    rng = random.Random(1)
    right = [list(gains) for gains in relevant]
    candidates = [sorted({*r[:2], *rng.sample(range(M), 25)}) for r in right]
    task = Reranking(name="x", queries=["q"] * 80, documents=["d"] * M, candidates=candidates, relevant=right)
    for text in ("float32", "prefix:16+int8", "binary", "pca:20+int4"):
        spec = parse_spec(text, D)
        codec = Codec.fit(spec, documents)
        scores = codec.score(queries, codec.encode(documents))
        inside = torch.full_like(scores, -1e9)
        for row, chosen in enumerate(candidates):
            inside[row, chosen] = scores[row, chosen]
        want = trec(inside.double(), [dict.fromkeys(r, 1) for r in right], "map_cut.1000", "map_cut_1000")
        assert measured(task, queries, documents, [spec])[str(spec)].value == pytest.approx(want, abs=1e-6), (
            text
        )
    assert not measured(task, queries, documents, [parse_spec("binary+rerank:bits", D)])


def corpus():
    labels = [f"m{i % 5}" if i % 7 else None for i in range(M)]
    relevant = [[i, (i + 50) % M] if i % 3 else [i] for i in range(80)]
    return Corpus(
        queries=[f"query {i}" for i in range(80)], documents=[f"document {i}" for i in range(M)],
        relevant=relevant, labels=labels,
    )  # fmt: skip


def test_tasks_of_a_corpus():
    made = corpus()
    tasks = {task.kind: task for task in made.tasks()}
    assert list(tasks) == ["retrieval", "clustering", "reranking", "pair_classification"]
    reranking = tasks["reranking"]
    for query, candidates, right in zip(
        reranking.queries, reranking.candidates, reranking.relevant, strict=True
    ):
        assert set(right) <= set(candidates)
        label = made.labels[made.relevant[made.queries.index(query)][0]]
        assert all(made.labels[c] == label for c in set(candidates) - set(right))
        assert len(candidates) == 32
    pairs = tasks["pair_classification"]
    assert sum(pairs.positive) * 2 == len(pairs.positive) == 2 * len(reranking.queries)
    for left, right, positive in zip(pairs.left, pairs.right, pairs.positive, strict=True):
        row = left
        assert (right in made.relevant[row]) == positive
        assert made.labels[right] == made.labels[made.relevant[row][0]]
    assert all(made.labels[i] is not None for sample in tasks["clustering"].samples for i in sample)
    assert [task.kind for task in Corpus(queries=["a"], documents=["b", "c"], relevant=[[0]]).tasks()] == [
        "retrieval"
    ]


def test_tasks_that_the_labels_do_not_allow():
    made = corpus()
    for labels, kinds in (
        ([f"l{i}" for i in range(M)], ["retrieval", "clustering"]),  # no wrong document of a right one's label
        (["a"] * M, ["retrieval", "reranking", "pair_classification"]),
        ([f"l{i % 2}" if i < 3 else None for i in range(M)], ["retrieval", "clustering", "reranking", "pair_classification"]),
        ([], ["retrieval"]),
    ):  # fmt: skip
        one = Corpus(queries=made.queries, documents=made.documents, relevant=made.relevant, labels=labels)
        tasks = one.tasks()
        assert [task.kind for task in tasks] == kinds
        evaluate(
            tasks, lambda texts, role, prompt: torch.randn(len(texts), 8), model="m", specs=lambda full: [], labels=labels
        )  # fmt: skip
    many = Corpus(
        queries=["q"], documents=[f"d{i}" for i in range(4200)], relevant=[[0]],
        labels=[f"l{i // 2}" for i in range(4200)],
    )  # fmt: skip
    assert [task.kind for task in many.tasks()] == ["retrieval", "reranking", "pair_classification"]


def run(embed=None, specs=None, **more):
    made = corpus()
    generator = torch.Generator().manual_seed(3)
    vectors = {text: torch.randn(D, generator=generator) for text in [*made.documents, *made.queries]}
    for i, query in enumerate(made.queries):
        vectors[query] = vectors[query] + 1.5 * vectors[made.documents[i]]
    calls = []

    def table(texts, role, prompt):
        calls.append(len(texts))
        return torch.stack([vectors[text] for text in texts])

    chosen = specs or (lambda full: [parse_spec(t, full) for t in ("random:16:0", "random:16:1", "prefix:32+binary", "pca:64+int8", "binary+rerank:bits")])  # fmt: skip
    return evaluate(made.tasks(), embed or table, model="m", specs=chosen, labels=made.labels, **more), calls


def test_report_is_tidy():
    found, calls = run()
    report = found.report
    assert set(report.to_json()) >= {"model", "geometry", "scores", "means", "data", "width"}
    assert len(calls) == 3  # documents and queries of all, queries of reranking
    rows = {(row.task, row.spec): row for row in report.scores}
    for row in rows.values():
        assert row.ci_low <= row.score <= row.ci_high
        assert row.retention_ci_low <= row.retention <= row.retention_ci_high
    full = rows["retrieval", "prefix:64+float32"]
    assert (full.retention, full.retention_ci_low, full.bytes_per_vector) == (1.0, 1.0, 256)
    assert rows["retrieval", "random:16+float32"].num_draws == 2
    assert rows["retrieval", "random:16+float32"].std_over_draws > 0
    assert rows["retrieval", "prefix:32+binary"].codec == "binary"
    assert rows["retrieval", "prefix:64+binary+rerank:bits:100"].codec == "binary_rerank"
    assert ("clustering", "prefix:64+binary+rerank:bits:100") not in rows
    assert {row.kind for row in report.means} == {
        "retrieval",
        "clustering",
        "reranking",
        "pair_classification",
    }
    assert set(found.replicates) == {f"{task}|{spec}" for task, spec in rows}


def test_replicates_of_another_report_are_refused(tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    write_report(run()[0], first)
    write_report(run(embed=lambda texts, role, prompt: torch.eye(len(texts), D))[0], second)
    load_evaluation(first)
    shutil.copy(report_files(second)[2], report_files(first)[2])
    with pytest.raises(UserError, match=r"expected the replicates that were written with first\.json"):
        load_evaluation(first)


def test_the_same_run_gives_the_same_numbers():
    first, second = run()[0], run()[0]
    assert first.report.scores == second.report.scores
    assert all(torch.equal(first.replicates[key], second.replicates[key]) for key in first.replicates)


def test_a_codec_that_cannot_be_is_left_out_with_its_reason():
    found, _ = run(specs=lambda full: [parse_spec(t, full) for t in ("pq:8", "int8")])
    assert not found.report.skipped
    made = corpus()
    small = Corpus(queries=made.queries, documents=made.documents[:80], relevant=[[i] for i in range(80)])
    vectors = torch.randn(80, D, generator=torch.Generator().manual_seed(0))
    found = evaluate(
        small.tasks(),
        lambda texts, role, prompt: vectors,
        model="m",
        specs=lambda full: [parse_spec(t, full) for t in ("pq:8", "int8")],
    )
    assert [row.spec for row in found.report.scores] == ["prefix:64+float32", "prefix:64+int8"]
    assert "256 documents" in found.report.skipped[0].why


def test_nan_is_refused():
    with pytest.raises(UserError, match="NaN or infinity in row 2"):
        run(
            embed=lambda texts, role, prompt: torch.ones(len(texts), D).index_fill_(
                0, torch.tensor([2]), float("nan")
            )
        )


def test_a_model_that_finds_nothing_has_a_score_and_no_retention():
    documents = torch.eye(D)
    task = Retrieval(name="r", queries=["q"], documents=["d"] * D, relevant=[{0: 1.0}])
    vectors = {1: 1 - documents[:1], D: documents}  # the right document comes last
    report = evaluate([task], lambda texts, role, prompt: vectors[len(texts)], model="m").report
    assert {row.score for row in report.scores if row.codec == "float32"} == {0.0}
    assert all(row.retention is None for row in report.scores)
    assert report.means == ()


def test_a_document_is_no_negative_of_its_own_queries():
    """Of queries that share their document the first counts; one without a right document does not."""
    generator = torch.Generator().manual_seed(0)
    documents, queries = torch.randn(40, D, generator=generator), torch.randn(4, D, generator=generator)
    relevant = [{3: 1.0}, {}, {3: 1.0}, {5: 1.0, 3: 1.0}]

    def measured(relevant, queries):
        task = Retrieval(name="r", queries=["q"] * len(queries), documents=["d"] * 40, relevant=relevant)
        return evaluate(
            [task], lambda texts, role, prompt: documents if len(texts) == 40 else queries, model="m", specs=lambda full: []
        ).report.geometry  # fmt: skip

    assert measured(relevant, queries) == measured([{3: 1.0}, {5: 1.0}], queries[[0, 3]])
    assert "alignment" not in measured([{}], queries[:1])


def test_means_over_tasks_have_both_conventions():
    from tempembed.evaluation.means import means_over_tasks

    scores = [
        score_row(task=task, kind="k", spec=spec, codec=codec, dim=4, bytes_per_vector=1, score=score, retention=kept)
        for task, spec, codec, score, kept in (
            ("a", "full", "float32", 0.8, 1.0), ("b", "full", "float32", 0.2, 1.0),
            ("a", "half", "x", 0.4, 0.5), ("b", "half", "x", 0.18, 0.9), ("a", "odd", "y", 0.1, 0.1),
        )
    ]  # fmt: skip
    replicates = {row.key: torch.full((10,), row.score) for row in scores}
    found = {row.spec: row for row in means_over_tasks(scores, replicates)}
    assert set(found) == {"full", "half"}  # odd lacks task b
    assert found["half"].retention_of_means == pytest.approx(0.58)
    assert found["half"].mean_of_retentions == pytest.approx(0.7)
    assert found["half"].retention_of_means_ci == pytest.approx((0.58, 0.58))
    assert found["half"].mean_of_retentions_ci == pytest.approx((0.7, 0.7))


def test_parts_of_a_task_share_its_weight():
    from tempembed.evaluation.means import means_over_tasks

    scores = [
        score_row(
            task=task,
            kind="k",
            spec="full",
            codec="float32",
            dim=4,
            bytes_per_vector=1,
            score=score,
            retention=1.0,
        )
        for task, score in (("a", 0.9), ("b/x", 0.2), ("b/y", 0.4))
    ]
    replicates = {f"{row.task}|full": torch.full((10,), row.score) for row in scores}
    parts = {"a": "a", "b/x": "b", "b/y": "b"}
    assert means_over_tasks(scores, replicates, parts)[0].score == pytest.approx(0.6)
    assert means_over_tasks(scores, replicates)[0].score == pytest.approx(0.5)


def test_corpus_from_pairs():
    import pyarrow as pa

    rows = [
        {"query": "a", "document": "x", "hard_negatives": ["n"], "label": "1"},
        {"query": "a", "document": "y", "hard_negatives": ["x"], "label": "2"},
        {"query": "b", "document": "y", "hard_negatives": [], "label": "2"},
    ]
    task = corpus_from_pairs(Pairs(table=pa.Table.from_pylist(rows), source="s"))
    assert (task.queries, task.documents) == (["a", "b"], ["x", "y", "n"])
    assert (task.relevant, task.labels) == ([[0, 1], [1]], ["1", "2", None])
    with pytest.raises(UserError, match="at least 2 distinct documents"):
        corpus_from_pairs(Pairs(table=pa.Table.from_pylist([{"query": "a", "document": "x"}]), source="s"))
