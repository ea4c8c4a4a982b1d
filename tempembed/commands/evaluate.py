"""`tempembed evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.measure import Measure, Subject, check_new, subject
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place

if TYPE_CHECKING:
    from torch import Tensor

    from tempembed.evaluation.report import Report
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
    from tempembed.reports.report_text import score_text

    print(score_text(measure(command)))
    output = Path(command.output)
    say(f"report: {output}   pictures: {output.with_suffix('.html')}")


def measure(command: Evaluate) -> "Report":
    """The report of a model, which is written with its pictures as well.

    Raises:
        UserError: a model, data or codec that cannot be, or an output that is there.
    """
    from tempembed.codecs.sets import lab_specs, paper_specs
    from tempembed.codecs.spec import parse_spec
    from tempembed.evaluation.evaluate import evaluate
    from tempembed.evaluation.report_files import report_files, write_report
    from tempembed.reports.model_page import write_model_page

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
    report = replace(evaluation.report, mteb=it.full_precision(output.with_suffix(".mteb")))
    write_report(replace(evaluation, report=report), output)
    write_model_page(report, output.with_suffix(".html"), document_map(it))
    return report


def document_map(it: Subject) -> "tuple[Tensor, list[str]] | None":
    """t-SNE points of documents that have labels, and these; None where none have."""
    from tempembed.codecs.basis import normalized
    from tempembed.geometry.tsne import frequent_rows, tsne

    task, labels = labelled_documents(it)
    rows = frequent_rows(labels)
    texts = [task.documents[row] for row in rows]
    points = tsne(normalized(it.store.embed(texts, "document", task.document_prompt)))
    return None if points is None else (points, [str(labels[row]) for row in rows])


def labelled_documents(it: Subject) -> "tuple[Task, Sequence[str | None]]":
    """A task and the labels of its documents: --data's, or those of the first task that has labels."""
    for task in it.tasks if not any(it.labels) else ():
        if labels := task.document_labels():
            return task, labels
    return it.tasks[0], it.labels
