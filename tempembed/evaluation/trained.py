"""Measure the model of a finished run on its own test, and keep the report beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.data.tokens import Tokens
from tempembed.encoders.encoder import load_encoder
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.task import EvaluationTask

REPORT = "evaluation.json"


def evaluate_trained(
    output: Path, test: tuple[EvaluationTask, Tokens, Tokens], say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The report of the model in `output` on `Prepared.evaluation()`; written there as well."""
    task, query_tokens, document_tokens = test
    encoder = load_encoder(str(output))
    report = evaluate(encoder, task, model=str(output), tokens=(query_tokens, document_tokens), say=say)
    write_report(report, output / REPORT)
    return report


def write_report(report: dict[str, Any], path: Path) -> None:
    """The report as JSON, and its scores as Parquet beside it; the JSON appears last and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"model": report["model"], **row} for row in report["scores"]]
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(report, indent=1))
    partial.rename(path)
