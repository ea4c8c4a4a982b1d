"""Measure a model: geometry, and every codec's score and retention, from embeddings that are made once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.compression import sign, width
from tempembed.data.tokens import Tokens
from tempembed.encoders.encoder import Encoder
from tempembed.errors import UserError
from tempembed.evaluation.bootstrap import bootstrap
from tempembed.evaluation.clustering import clustering_scores
from tempembed.evaluation.retrieval import Key, retrieval_scores
from tempembed.evaluation.task import EvaluationTask
from tempembed.geometry.alignment_uniformity import alignment, uniformity
from tempembed.geometry.intrinsic_dimension import pca95, pca95_random

GEOMETRY_ROWS = 5_000  # the paper's n, see paper.md section 2
BYTES = {
    "float32": width.bytes_per_vector,
    "random": width.bytes_per_vector,
    "binary": sign.bytes_per_vector,
    "binary_rerank": sign.bytes_per_vector,
}


def evaluate(
    encoder: Encoder,
    task: EvaluationTask,
    *,
    model: str,
    tokens: tuple[Tokens, Tokens] | None = None,
    draws: int = 3,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The report of one model: `{"model", "geometry", "scores"}` as plain JSON values.

    Args:
        encoder: the model; each text goes through it once.
        task: queries, documents, right answers, labels.
        model: its name in the report.
        tokens: of the queries and documents, if they were made before.
        draws: random choices of coordinates for the codec `random`.
        say: takes lines of progress.
    """
    say(f"encoding {len(task.queries)} queries and {len(task.documents)} documents")
    query_tokens, document_tokens = tokens or (
        encoder.tokenize(task.queries),
        encoder.tokenize(task.documents),
    )
    queries, documents = encoder.embed(query_tokens), encoder.embed(document_tokens)
    for name, embeddings in (("query", queries), ("document", documents)):
        if bad := (~embeddings.isfinite().all(1)).nonzero().flatten().tolist():
            raise UserError(
                f"model {model}: expected finite embeddings, got NaN or infinity for {name} {bad[0]} "
                f"and {len(bad) - 1} more; the model is damaged or diverged in training"
            )
    return report(queries, documents, task, model=model, draws=draws, say=say)


def report(
    queries_QD: Float[Tensor, "Q D"],
    documents_MD: Float[Tensor, "M D"],
    task: EvaluationTask,
    *,
    model: str,
    draws: int = 3,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The same from embeddings."""
    widths = width.widths(documents_MD.shape[1])
    say(f"retrieval{' and clustering' if task.labels else ''} at widths {widths}")
    with ThreadPoolExecutor(1) as beside:  # k-means leaves half of the cores idle
        per_set = beside.submit(clustering_scores, documents_MD, task.labels, widths) if task.labels else None
        per_query = retrieval_scores(queries_QD, documents_MD, task.relevant, widths, draws)
        scores = _rows("retrieval", "ndcg_at_10", per_query, widths[-1])
        if per_set:
            scores += _rows("clustering", "v_measure", per_set.result(), widths[-1])
    return {
        "model": model,
        "data": {"num_queries": len(task.queries), "num_documents": len(task.documents)},
        "geometry": _geometry(queries_QD, documents_MD, task),
        "scores": scores,
    }


def _geometry(queries_QD: Tensor, documents_MD: Tensor, task: EvaluationTask) -> dict[str, Any]:
    queries, documents = width.cut(queries_QD, 10**9), width.cut(documents_MD, 10**9)
    sample = documents[:GEOMETRY_ROWS]
    positives = documents[torch.tensor([relevant[0] for relevant in task.relevant])]
    return {
        "pca95": pca95(sample),
        "pca95_random": pca95_random(*sample.shape),
        "n": len(sample),
        "alignment": alignment(queries, positives),
        "uniformity": uniformity(sample),
    }


def _rows(task: str, metric: str, values: dict[Key, Tensor], full: int) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, int], list[Tensor]] = {}
    for (codec, dim, _), scores in values.items():
        grouped.setdefault((codec, dim), []).append(scores)
    means = torch.stack([torch.stack(draws).mean(0) for draws in grouped.values()])
    reference = values["float32", full, 0]
    intervals, ratios = bootstrap(means, reference)
    full_score = reference.mean().item()
    rows = []
    for (codec, dim), mean, interval, ratio in zip(grouped, means, intervals, ratios, strict=True):
        score = mean.mean().item()
        draws = torch.stack(grouped[codec, dim]).mean(1)
        is_full = codec == "float32" and dim == full
        rows.append(
            {
                "task": task,
                "metric": metric,
                "codec": codec,
                "dim": dim,
                "bytes_per_vector": BYTES[codec](dim),
                "score": score,
                "retention": 1.0 if is_full else (score / full_score if full_score else None),
                "ci_low": interval[0],
                "ci_high": interval[1],
                "retention_ci_low": ratio[0],
                "retention_ci_high": ratio[1],
                "num_draws": len(draws),
                "std_over_draws": draws.std().item() if len(draws) > 1 else None,
            }
        )
    return rows
