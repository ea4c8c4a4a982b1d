import random

import numpy as np
import pytest
import pytrec_eval
import torch

from tempembed.compression.sign import sign
from tempembed.data.pairs import Pairs
from tempembed.errors import UserError
from tempembed.evaluation.bootstrap import bootstrap
from tempembed.evaluation.clustering import clustering_scores
from tempembed.evaluation.evaluate import report
from tempembed.evaluation.retrieval import retrieval_scores
from tempembed.evaluation.task import EvaluationTask, task_from_pairs


@pytest.fixture(scope="module")
def embedded():
    generator = torch.Generator().manual_seed(0)
    documents = torch.randn(300, 64, generator=generator)
    documents[10] = documents[11]  # a tie in every codec
    rng = random.Random(0)
    relevant = [sorted(rng.sample(range(300), rng.choice((1, 1, 3, 12)))) for _ in range(80)]
    noise = torch.randn(80, 64, generator=generator)
    queries = torch.stack([documents[r[0]] for r in relevant]) + 1.5 * noise
    return queries, documents, relevant


def trec_ndcg(scores, relevant):
    """trec_eval's own program on the same scores."""
    run = {f"q{i}": {f"d{j:05d}": float(s) for j, s in enumerate(row)} for i, row in enumerate(scores)}
    judged = {f"q{i}": {f"d{j:05d}": 1 for j in documents} for i, documents in enumerate(relevant)}
    found = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut_10"}).evaluate(run)
    return [found[f"q{i}"]["ndcg_cut_10"] for i in range(len(scores))]


def test_every_codec_equals_trec_eval(embedded):
    queries, documents, relevant = embedded
    got = retrieval_scores(queries, documents, relevant, [16, 64], draws=2)
    for width in (16, 64):
        q, d = queries[:, :width], documents[:, :width]
        cosine = q @ torch.nn.functional.normalize(d, dim=1).T
        np.testing.assert_allclose(got["float32", width, 0], trec_ndcg(cosine, relevant), atol=1e-6)
        hamming = sign(q) @ sign(d).T
        np.testing.assert_allclose(got["binary", width, 0], trec_ndcg(hamming, relevant), atol=1e-6)
        # re-ranking: everything outside the first hundred by (Hamming, id) is out of the race
        fine = q @ sign(d).T
        for row in range(len(q)):
            order = sorted(range(300), key=lambda j: (-hamming[row, j].item(), -j))
            fine[row, order[100:]] = -1e9
        np.testing.assert_allclose(got["binary_rerank", width, 0], trec_ndcg(fine, relevant), atol=1e-6)
    assert not torch.equal(got["random", 16, 0], got["random", 16, 1])
    assert ("random", 64, 0) not in got


def test_clustering_finds_planted_clusters():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 32, generator=generator) * 4
    labels = [i % 4 for i in range(200)]
    x = centres[labels] + 0.1 * torch.randn(200, 32, generator=generator)
    names = [f"c{label}" for label in labels] + [None] * 10
    x = torch.cat([x, torch.randn(10, 32)])
    scores = clustering_scores(x, names, [32])
    assert scores["float32", 32, 0].mean() > 0.8
    shuffled = clustering_scores(x[torch.randperm(210, generator=generator)], names, [32])
    assert shuffled["float32", 32, 0].mean() < 0.3


def test_bootstrap_interval():
    scores = torch.randn(2, 400, generator=torch.Generator().manual_seed(0)) + 1
    (interval, _), (ratio, same) = bootstrap(scores, scores[1])
    mean, error = scores[0].mean().item(), scores[0].std().item() / 20
    assert interval == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.02)
    assert same == (1.0, 1.0)
    assert ratio[0] < mean / scores[1].mean().item() < ratio[1]


def test_report_is_tidy(embedded):
    queries, documents, relevant = embedded
    task = EvaluationTask(
        queries=["q"] * 80, documents=["d"] * 300, relevant=relevant, labels=[str(i % 5) for i in range(300)]
    )
    found = report(queries, documents, task, model="m")
    assert set(found) >= {"model", "geometry", "scores"}
    assert set(found["geometry"]) == {"pca95", "pca95_random", "n", "alignment", "uniformity"}
    for row in found["scores"]:
        assert row["ci_low"] <= row["score"] <= row["ci_high"]
    rows = {(r["metric"], r["codec"], r["dim"]): r for r in found["scores"]}
    assert rows["ndcg_at_10", "float32", 64]["retention"] == 1.0
    assert rows["ndcg_at_10", "float32", 64]["bytes_per_vector"] == 256
    assert rows["ndcg_at_10", "binary", 32]["bytes_per_vector"] == 4
    assert rows["ndcg_at_10", "random", 32]["num_draws"] == 3


def test_task_from_pairs():
    import pyarrow as pa

    rows = [
        {"query": "a", "document": "x", "hard_negatives": ["n"], "label": "1"},
        {"query": "a", "document": "y", "hard_negatives": ["x"], "label": "2"},
        {"query": "b", "document": "y", "hard_negatives": [], "label": "2"},
    ]
    task = task_from_pairs(Pairs(table=pa.Table.from_pylist(rows), source="s"))
    assert (task.queries, task.documents) == (["a", "b"], ["x", "y", "n"])
    assert (task.relevant, task.labels) == ([[0, 1], [1]], ["1", "2", None])
    with pytest.raises(UserError, match="at least 2 distinct documents"):
        task_from_pairs(Pairs(table=pa.Table.from_pylist([{"query": "a", "document": "x"}]), source="s"))
