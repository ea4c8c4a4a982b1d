"""`tempembed evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.measure import Measure, Subject, check_new, subject
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place

if TYPE_CHECKING:
    from torch import Tensor

    from tempembed.evaluation.task import Task


@dataclass(frozen=True, kw_only=True)
class Evaluate(Measure):
    """Measure a model: every task under every codec, with intervals, and its geometry.

    Example: tempembed evaluate runs/one --data test.parquet --output report.json

    Writes report.json, report.html (tables and pictures), report.parquet (the scores as a table) and
    report.replicates.safetensors (for tempembed compare); with --tasks or --task-folder also report.mteb/, mteb's own
    results at full precision.
    """

    codecs: tuple[str, ...] = ("paper",)
    """paper (widths, random choices, bits, re-ranked bits), lab (all), or codecs such as pca:128+int8 or
    prefix:256+binary+rerank:bits:100."""
    output: str = "report.json"
    """The report."""


def evaluate_command(command: Evaluate) -> None:
    """`tempembed evaluate`."""
    from tempembed.codecs.spec import lab_specs, paper_specs, parse_spec
    from tempembed.evaluation.evaluate import evaluate
    from tempembed.evaluation.trained import report_files, write_report
    from tempembed.reports.model_page import write_model_page
    from tempembed.reports.table import score_table

    output = Path(command.output)
    if output.suffix != ".json":
        raise UserError(f"--output: expected a file name that ends in .json, got {command.output}")
    check_place(output, "--output")
    check_new("--output", output, [*report_files(output), output.with_suffix(".html")], command.data)
    sets = {"paper": paper_specs, "lab": lab_specs}

    def specs(full: int) -> list[Any]:
        lists = [sets[text](full) if text in sets else [parse_spec(text, full)] for text in command.codecs]
        return [spec for found in lists for spec in found]

    it = subject(command)
    specs(it.store.width)  # a codec that cannot be is refused before the work
    evaluation = evaluate(
        it.tasks, it.store.embed, model=command.model, specs=specs, labels=it.labels, raw=True, say=say
    )
    evaluation.report["mteb"] = it.full_precision(output.with_suffix(".mteb"))
    write_report(evaluation, output)
    page = output.with_suffix(".html")
    write_model_page(evaluation.report, page, document_map(it))
    print(score_table(evaluation.report))
    say(f"report: {output}   pictures: {page}")


def document_map(it: Subject) -> "tuple[Tensor, list[str]] | None":
    """t-SNE points of documents that have labels, and these; None where none have."""
    from tempembed.codecs.basis import unit
    from tempembed.geometry.tsne import frequent_rows, tsne

    task, labels = labelled_documents(it)
    rows = frequent_rows(labels)
    texts = [task.documents[row] for row in rows]
    points = tsne(unit(it.store.embed(texts, "document", task.document_prompt)))
    return None if points is None else (points, [str(labels[row]) for row in rows])


def labelled_documents(it: Subject) -> "tuple[Task, Sequence[str | None]]":
    """Those of --data, or of the first task that has labels."""
    from tempembed.evaluation.classification import Classification
    from tempembed.evaluation.clustering import Clustering

    for task in it.tasks if not any(it.labels) else ():
        if isinstance(task, Classification):
            return task, task.labels
        if isinstance(task, Clustering):
            names = dict(zip(task.samples[0], task.labels[0], strict=True))
            return task, [names.get(row) for row in range(len(task.documents))]
    return it.tasks[0], it.labels
