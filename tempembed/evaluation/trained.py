"""Measure the model of a finished run on its own test, and keep the report beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_file
from torch import Tensor

from tempembed.data.tokens import Tokens
from tempembed.encoders.encoder import load_encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import Evaluation, evaluate

REPORT = "evaluation.json"
KINDS = ("retrieval", "clustering")
"""What a run measures of its model; `tempembed evaluate` measures all."""


def evaluate_trained(
    output: Path, test: tuple[Corpus, Tokens, Tokens], say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The report of the model in `output` on `Prepared.evaluation()`; written there as well."""
    corpus, query_tokens, document_tokens = test
    encoder = load_encoder(str(output))

    def embed(texts: Sequence[str], prompt: str) -> Tensor:
        return encoder.embed(query_tokens if texts is corpus.queries else document_tokens)

    tasks = corpus.tasks(KINDS)
    evaluation = evaluate(tasks, embed, model=str(output), labels=corpus.labels, say=say)
    write_report(evaluation, output / REPORT)
    return evaluation.report


def write_report(evaluation: Evaluation, path: Path) -> None:
    """The report as JSON; beside it its scores as Parquet and its replicates. The JSON appears last and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = evaluation.report
    rows = [{"model": report["model"], **row} for row in report["scores"]]
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    save_file(evaluation.replicates, path.with_suffix(".replicates.safetensors"))
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(report, indent=1))
    partial.rename(path)
