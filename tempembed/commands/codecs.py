"""`tempembed codecs`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.measure import Measure, check_new, subject
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place

if TYPE_CHECKING:
    from tempembed.evaluation.choice import Choice
    from tempembed.evaluation.report import Evaluation, ScoreRow


@dataclass(frozen=True, kw_only=True)
class Codecs(Measure):
    """Which codec for N bytes a vector? Measures them all on a model and recommends one for --bytes.

    All codecs are measured on one task, the best of each budget on the others too.

    Example: tempembed codecs runs/one --data test.parquet --bytes 128 --output codecs

    For an engine: tempembed codecs runs/one --data test.parquet --bytes 128 --engine pgvector

    Writes report.json (as evaluate does), pareto.html, and codec/: the recommended codec, fitted on the documents, as
    safetensors and JSON for tempembed.codecs.codec.Codec.load.
    """

    bytes: int = 128
    """A document's, all that is stored counted."""
    task: str | None = None
    """The task that decides; default: the first, retrieval of --data."""
    engine: str | None = None
    """Only what this engine can hold, searched by its codes alone: faiss, usearch, sqlite-vec, lancedb, qdrant, milvus, pgvector,
    elasticsearch or opensearch; its own ways to quantise among them."""
    output: str = "codecs"
    """Folder for the report, the plot and the codec."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was measured, and which codecs it chose."""

    evaluation: "Evaluation"
    decided: "Sequence[ScoreRow]"
    """Scores of the task that decided."""
    best: "Choice"
    """Within --bytes."""
    budgets: "Sequence[Choice]"


def codecs_command(command: Codecs) -> None:
    """`tempembed codecs`."""
    from tempembed.reports.codecs_page import codec_text, other_tasks, recommendation
    from tempembed.reports.report_text import left_out_lines

    found, output = choose_codecs(command), Path(command.output)
    report = found.evaluation.report
    print(codec_text(found.budgets, found.decided))
    if len(report.data.tasks) > 1:
        print(other_tasks(report.scores, found.decided[0].task))
    print("".join(f"{line}\n" for line in left_out_lines(report)), end="")
    print(recommendation(found.best))
    say(f"plot: {output / 'pareto.html'}   codec: {output / 'codec'}   report: {output / 'report.json'}")


def choose_codecs(command: Codecs) -> Chosen:
    """Measure all codecs, write what is found, and give the best of each size.

    Raises:
        UserError: a model, data or budget that cannot be, or an output that is there.
    """
    from tempembed.codecs.codec import Codec
    from tempembed.codecs.sets import BUDGETS, budget_specs, lab_specs
    from tempembed.codecs.spec import Spec, parse_spec
    from tempembed.engines.builtin import find_engine
    from tempembed.evaluation.choice import choices, choose, pareto
    from tempembed.evaluation.evaluate import evaluate, merged
    from tempembed.evaluation.report_files import report_files, write_report
    from tempembed.reports.codecs_page import write_codecs_page

    if command.bytes < 1:
        raise UserError(f"--bytes: expected >= 1, got {command.bytes}")
    engine = find_engine(command.engine) if command.engine else None
    output = Path(command.output)
    check_place(output, "--output")
    check_new("--output", output / "report.json", report_files(output / "report.json"), command.data)
    it = subject(command)

    def specs(full: int) -> list[Spec]:
        """Codecs of the usual budgets, and of the one that is asked for."""
        every = list(dict.fromkeys([*lab_specs(full), *budget_specs(full, (command.bytes,))]))
        if engine is None:
            return every
        own = engine.specs(full, sorted({*BUDGETS, command.bytes}))
        return list(dict.fromkeys([*filter(engine.holds, every), *own]))

    least = min(spec.bytes_per_vector for spec in specs(it.store.width))
    if command.bytes < least:
        raise UserError(
            f"--bytes {command.bytes}: expected at least {least}, the smallest codec of this model"
        )
    names = [task.name for task in it.tasks]
    if command.task and command.task not in names:
        raise UserError(f"--task: expected one of {names}, got {command.task!r}")
    first = it.tasks[names.index(command.task) if command.task else 0]
    common: dict[str, Any] = {"model": command.model, "say": say}
    labels = it.labels if first is it.tasks[0] else ()
    evaluation = evaluate([first], it.store.embed, specs=specs, labels=labels, **common)
    rows = evaluation.report.scores
    chosen = choose(rows, evaluation.replicates, command.bytes)
    found = choices(rows, evaluation.replicates, sorted({*BUDGETS, command.bytes}))
    if rest := [task for task in it.tasks if task is not first]:
        # the other tasks measure the winners: what a user would take, not all that lost
        winners = [parse_spec(choice.best.spec, evaluation.report.width).search for choice in found]
        evaluation = merged(evaluation, evaluate(rest, it.store.embed, specs=lambda full: winners, **common))
    report = replace(
        evaluation.report,
        mteb=it.full_precision(output / "mteb"),
        model_fingerprint=it.store.fingerprint,
        codec=chosen.best.spec,
    )
    write_report(replace(evaluation, report=report), output / "report.json")
    write_codecs_page(report, rows, pareto(rows), found, output / "pareto.html")
    spec = parse_spec(chosen.best.spec, report.width)
    Codec.fit(spec, it.store.embed(first.documents, "document", first.document_prompt)).save(output / "codec")
    return Chosen(evaluation=replace(evaluation, report=report), decided=rows, best=chosen, budgets=found)
