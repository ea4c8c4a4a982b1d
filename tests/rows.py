"""Scores and reports for tests: what a test says nothing of has a plain value."""

from tempembed.evaluation.report import DataFacts, Evaluation, Report, ScoreRow, TaskFacts

NAMES = {
    "codec": "float32",
    "dim": 8,
    "ci_low": 0.0,
    "ci_high": 1.0,
    "retention_ci_low": 0.0,
    "retention_ci_high": 1.0,
}


def score_row(**values):
    """A row; by default of a task of retrieval."""
    defaults = {
        "task": "retrieval",
        "metric": "ndcg_at_10",
        "bytes_per_vector": 32,
        "score": 0.5,
        "retention": 1.0,
        **NAMES,
    }
    defaults["spec"] = f"prefix:{values.get('dim', 8)}+{values.get('codec', 'float32')}"
    return ScoreRow(**{**defaults, **values})


def report(scores, *, fingerprint="f", **values):
    """A report of these rows; each of their tasks has the fingerprint."""
    tasks = {row.task: TaskFacts(fingerprint=fingerprint) for row in scores}
    data = DataFacts(num_queries=5, num_documents=9, tasks=tasks)
    return Report(
        **{"model": "m", "width": 8, "geometry": {}, "data": data, "scores": tuple(scores), **values}
    )


def evaluation(scores, replicates, **values):
    """A report and its replicates."""
    return Evaluation(report=report(scores, **values), replicates=replicates)
