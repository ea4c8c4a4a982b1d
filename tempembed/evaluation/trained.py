"""Measure the model of a finished run on its own test, and keep the report beside it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_file
from torch import Tensor

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import ALIAS_BUDGETS, clustering_specs, parse_spec, sweep_specs
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import RoleName
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import Evaluation, evaluate
from tempembed.inputs.tokens import Tokens
from tempembed.system.atomic import write_json
from tempembed.system.checksums import sha256
from tempembed.system.names import check_name

REPORT = "evaluation.json"
KINDS = ("retrieval", "clustering")
"""What a run measures of its model; `tempembed evaluate` measures all."""


def evaluate_trained(
    output: Path,
    test: tuple[Corpus, Tokens, Tokens],
    say: Callable[[str], None] = lambda _: None,
    *,
    budgets: Sequence[int] = ALIAS_BUDGETS,
    cost: Mapping[str, float] | None = None,
    temperatures: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The report of the model in `output` on `Prepared.evaluation()`; written there as well.

    Args:
        output: the model's folder.
        test: texts and their tokens.
        say: takes lines of progress.
        budgets: bytes per vector whose codecs are measured besides the paper's.
        cost: of the training, for the report; the seconds of the measurement join it.
        temperatures: what the moving ones ended at, by term, for the report.
    """
    began = time.monotonic()
    corpus, query_tokens, document_tokens = test
    encoder = load_encoder(str(output))

    def embed(texts: Sequence[str], role: RoleName, prompt: str | None) -> Tensor:
        return encoder.embed(
            query_tokens if texts is corpus.queries else document_tokens
        )  # of their roles already

    tasks = corpus.tasks(KINDS)
    evaluation = evaluate(
        tasks,
        embed,
        model=str(output),
        specs=lambda full: sweep_specs(full, budgets),
        by_kind={"clustering": clustering_specs},
        labels=corpus.labels,
        say=say,
    )
    evaluation.report["temperatures"] = dict(temperatures or {})
    evaluation.report["cost"] = {**(cost or {}), "evaluation_seconds": time.monotonic() - began}
    write_report(evaluation, output / REPORT)
    return evaluation.report


def save_codecs(output: Path, test: tuple[Corpus, Tokens, Tokens], specs: Mapping[str, str]) -> None:
    """Fit codecs of the model in `output` on the test documents, as its report had them, and keep them in `codecs/NAME`."""
    encoder = load_encoder(str(output))
    documents = encoder.embed(test[2])
    for name, text in specs.items():
        check_name(name, "alias")
        Codec.fit(parse_spec(text, encoder.width), documents).save(output / "codecs" / name)


def report_files(path: Path) -> list[Path]:
    """All that `write_report` writes."""
    return [path, path.with_suffix(".parquet"), path.with_suffix(".replicates.safetensors")]


def write_report(evaluation: Evaluation, path: Path) -> None:
    """The report as JSON; beside it its scores as Parquet and its replicates. The JSON appears last and whole, with their sum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = evaluation.report
    rows = [{"model": report["model"], **row} for row in report["scores"]]
    _, table, replicates = report_files(path)
    partial = {file: file.with_name(f".{file.name}.part") for file in (table, replicates, path)}
    try:
        pq.write_table(pa.Table.from_pylist(rows), partial[table])
        save_file(evaluation.replicates, partial[replicates])
        report["replicates"] = sha256(partial[replicates])
        write_json(partial[path], report)
        for file, written in partial.items():
            written.replace(file)
    finally:
        for written in partial.values():
            written.unlink(missing_ok=True)
