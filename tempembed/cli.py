"""The command line without Ray: train, evaluate, check and plan on this machine."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tempembed.commands.export import Export, export_command
from tempembed.commands.recommend import Recommend, recommend_command
from tempembed.commands.search import Search, search_command
from tempembed.console import say
from tempembed.errors import UserError
from tempembed.names import file_name
from tempembed.objective import Direction
from tempembed.settings import TrainSettings
from tempembed.untrusted import check_place

if TYPE_CHECKING:
    from torch import Tensor

    from tempembed.evaluation.store import EmbeddingStore
    from tempembed.evaluation.task import Task


@dataclass(frozen=True, kw_only=True)
class Train(TrainSettings):
    """Train an encoder on pairs and save it as a sentence-transformers model.

    Example: tempembed train --data pairs.parquet --objective tempaggmrl --output runs/one
    Then:    tempembed evaluate runs/one --data test.parquet --output report.json
    """

    output: str
    """Folder for the model, its settings, metrics.jsonl and checkpoints."""
    resume: bool = False
    """Go on from the newest checkpoint in --output; the other settings must be the same."""
    stop_after: int | None = None
    """Stop at this step with a checkpoint, as if interrupted; go on with --resume."""

    @property
    def settings(self) -> TrainSettings:
        """The run without where it is kept."""
        names = [field.name for field in dataclasses.fields(TrainSettings)]
        return TrainSettings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured, and where its texts' embeddings are kept."""

    model: Annotated[str, tyro.conf.Positional]
    """A sentence-transformers or transformers model: a local folder or a hub name."""
    data: str = "installed-code"
    """Test pairs: a Parquet, JSON Lines or CSV file, a folder, a datasets hub name, or installed-code. Measured are retrieval
    and, with labels, clustering, reranking and pair classification with hard negatives of the same label."""
    tasks: tuple[str, ...] = ()
    """Instead of --data: mteb tasks or benchmarks by name, such as NFCorpus "MTEB(eng, v1)"; needs their data."""
    task_folder: str | None = None
    """Instead of --data: a folder of local files in mteb's layout, or a folder of such folders."""
    max_queries: int | None = None
    """Of --data: take a random choice of so many queries (installed-code: 5,000)."""
    max_tokens: int | None = None
    """Cut texts after so many tokens; default: the model's own limit."""
    skip_bad_rows: bool = False
    """Leave bad rows of --data out and count them, instead of stopping at the first."""
    cache: str | None = None
    """Folder for embeddings, so that a text is encoded once per model; default: embeddings/ in tempembed's cache."""


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


@dataclass(frozen=True, kw_only=True)
class Codecs(Measure):
    """Which codec for N bytes a vector? Measures them all on a model and recommends one for --bytes.

    All codecs are measured on one task, the best of each budget on the others too.

    Example: tempembed codecs runs/one --data test.parquet --bytes 128 --output codecs
    Writes report.json (as evaluate does), pareto.html, and codec/: the recommended codec, fitted on the documents, as
    safetensors and JSON for tempembed.compression.codec.Codec.load.
    """

    bytes: int = 128
    """A document's, all that is stored counted."""
    task: str | None = None
    """The task that decides; default: the first, retrieval of --data."""
    output: str = "codecs"
    """Folder for the report, the plot and the codec."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare measured models: paired differences to the first, and what geometry predicts of retention.

    Example: tempembed compare one.json two.json
    """

    reports: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Reports of tempembed evaluate on the same data."""
    codecs: tuple[str, ...] = ("float32", "binary")
    """Codecs whose differences are shown."""


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """Check the objective engine on this machine, in under a minute; exit with 1 if a promise does not hold.

    Tiled = dense, cached = plain, 2, 3 and 4 processes = one, over gloo (NCCL where there are GPUs enough), in every
    direction, with hard negatives, masks, beta, tau+ and learned temperatures, at tau = 0.03 and 0.4. The dense loss in
    float64 is the reference; errors are relative, of losses and gradients.
    """

    verbose: bool = False
    """Print every check, not only the worst of its kind."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Predict what a training step would cost, on this machine, in four ways, and recommend one.

    dense keeps every logit; local compares with the worker's own batch only (another objective: fewer negatives);
    tiled is what `tempembed train` does; cached adds --gradient-cache. Small pieces of each are measured and scaled up.

    Example: tempembed plan --encoder transformer --width 384 --layers 6 --batch-size 4096 --num-workers 2 --check
    """

    encoder: str = "static"
    """static, transformer, or a local path or hub name."""
    width: int | None = None
    """Embedding width of static (default 1024) and transformer (default 384)."""
    layers: int = 4
    """Layers of the transformer."""
    vocabulary: int = 8192
    """Tokens of static and transformer."""
    tokens: int = 128
    """Of an average text."""
    batch_size: int = 8192
    """Global batch, in pairs."""
    num_workers: int = 1
    """Workers, all on machines like this one."""
    hard_negatives: int = 0
    """Per query."""
    objective: str = "tempaggmrl"
    """As in tempembed train."""
    terms: tuple[str, ...] = ()
    """As in tempembed train."""
    direction: Direction = "query-to-document"
    """As in tempembed train."""
    micro_batch_tokens: int = 0
    """As in tempembed train."""
    memory_gb: float | None = None
    """A worker's memory; default: what is free here, shared by the workers."""
    network_gb_per_second: float = 1.0
    """Between workers."""
    check: bool = False
    """Run each that fits, once, with its workers as processes on this machine, and print how far the prediction is off."""


def progress_line(metrics: dict[str, Any]) -> str:
    """One line a person can follow."""
    return (
        f"step {metrics['step']}/{metrics['num_steps']}  loss {metrics['train/loss']:.4f}  "
        f"{metrics['train/pairs_per_second']:,.0f} pairs/s  {metrics['train/seconds_left']:.0f} s left"
    )


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse to write over what an earlier run left."""
    check_place(output, "--output")
    left = [name for name in ("checkpoints", "modules.json") if (output / name).exists()]
    if left and not resume:
        raise UserError(
            f"--output {output}: expected a new or empty folder, found {left} of an earlier run; "
            "add --resume to go on with it, or choose another folder"
        )


def train_command(command: Train) -> None:
    """`tempembed train`."""
    from tempembed.evaluation.trained import REPORT, evaluate_trained
    from tempembed.prepare import prepare
    from tempembed.tracking.tracker import JsonlTracker
    from tempembed.training import train

    output = Path(command.output)
    check_output(output, resume=command.resume)
    prepared = prepare(command.settings, say)
    output.mkdir(parents=True, exist_ok=True)
    tracker = JsonlTracker(output / "metrics.jsonl")

    def report(metrics: dict[str, Any]) -> None:
        tracker.log(metrics)
        say(progress_line(metrics))

    train(
        command.settings, prepared, output, report, resume=command.resume, stop_after=command.stop_after, say=say
    )  # fmt: skip
    if not (output / "modules.json").exists():
        say(f"stopped after step {command.stop_after}; go on with --resume")
        return
    say(f"model: {output}")
    if test := prepared.evaluation():
        evaluate_trained(output, test, say)
        say(f"evaluation: {output / REPORT}")


@dataclass(frozen=True)
class Subject:
    """A model and what is measured of it."""

    tasks: "list[Task]"
    labels: Sequence[str | None]
    store: "EmbeddingStore"
    full_precision: Callable[[Path], dict[str, float]]
    """mteb's own scores, with its result files in a folder."""


def subject(command: Measure) -> Subject:
    """Load the model, and the tasks with their texts."""
    from tempembed.encoders.load import load_encoder
    from tempembed.evaluation.store import EmbeddingStore
    from tempembed.prepare import cache_dir, evaluation_task

    if command.tasks and command.task_folder:
        raise UserError("expected --tasks or --task-folder, got both")
    from tempembed.evaluation.folder import read_folder
    from tempembed.evaluation.mteb_results import mteb_scores
    from tempembed.evaluation.mteb_tasks import corpus_tasks, folder_task, named_tasks, to_ours

    encoder = load_encoder(command.model, command.max_tokens)
    store = EmbeddingStore(Path(command.cache or cache_dir() / "embeddings"), encoder, say)
    prompts = {name: prompt for name, prompt in encoder.prompts.items() if prompt}
    name = file_name(Path(command.model).name)

    def full_precision(theirs: Sequence[Any], prompts: dict[str, str]) -> Callable[[Path], dict[str, float]]:
        def run(folder: Path) -> dict[str, float]:
            say("mteb's own evaluation at full precision")
            return mteb_scores(theirs, store, name=name, prompts=prompts, output=folder)

        return run

    if not (command.tasks or command.task_folder):
        corpus = evaluation_task(
            command.data, max_queries=command.max_queries, skip_bad_rows=command.skip_bad_rows, say=say
        )
        return Subject(corpus.tasks(), corpus.labels, store, full_precision(corpus_tasks(corpus), {}))
    if command.task_folder:
        theirs = [folder_task(task) for task in read_folder(Path(command.task_folder))]
    else:
        theirs = named_tasks(command.tasks)
    tasks: list[Task] = []
    had = []
    for task in theirs:
        try:
            tasks += to_ours(task, prompts)
            had.append(task)
        except UserError as error:
            if len(theirs) == 1:
                raise
            say(f"left out: {error}")  # a benchmark goes on without the tasks whose data cannot be had
    if not tasks:
        raise UserError("expected at least one task whose data can be had, got none of those above")
    return Subject(tasks, (), store, full_precision(had, prompts))


def evaluate_command(command: Evaluate) -> None:
    """`tempembed evaluate`."""
    from tempembed.compression.spec import lab_specs, paper_specs, parse_spec
    from tempembed.evaluation.evaluate import evaluate
    from tempembed.evaluation.trained import write_report
    from tempembed.report.model_page import write_model_page

    output = Path(command.output)
    if output.suffix != ".json":
        raise UserError(f"--output: expected a file name that ends in .json, got {command.output}")
    check_place(output, "--output")
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
    from tempembed.compression.basis import unit
    from tempembed.geometry.tsne import frequent_rows, tsne

    task, labels = labelled_documents(it)
    rows = frequent_rows(labels)
    texts = [task.documents[row] for row in rows]
    points = tsne(unit(it.store.embed(texts, task.document_prompt)))
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


def codecs_command(command: Codecs) -> None:
    """`tempembed codecs`."""
    from tempembed.compression.codec import Codec
    from tempembed.compression.spec import BUDGETS, lab_specs, parse_spec
    from tempembed.evaluation.choice import choices, choose, pareto
    from tempembed.evaluation.evaluate import evaluate, merged
    from tempembed.evaluation.trained import write_report
    from tempembed.report.pareto import codec_table, other_tasks, recommendation, write_pareto

    output = Path(command.output)
    check_place(output, "--output")
    it = subject(command)
    names = [task.name for task in it.tasks]
    if command.task and command.task not in names:
        raise UserError(f"--task: expected one of {names}, got {command.task!r}")
    first = it.tasks[names.index(command.task) if command.task else 0]
    common: dict[str, Any] = {"model": command.model, "say": say}
    labels = it.labels if first is it.tasks[0] else ()
    evaluation = evaluate([first], it.store.embed, specs=lab_specs, labels=labels, **common)
    rows = evaluation.report["scores"]
    chosen = choose(rows, evaluation.replicates, command.bytes)
    found = choices(rows, evaluation.replicates, sorted({*BUDGETS, command.bytes}))
    if rest := [task for task in it.tasks if task is not first]:
        # the other tasks measure the winners: what a user would take, not all that lost
        winners = [parse_spec(choice.best["spec"], evaluation.report["width"]).search for choice in found]
        evaluation = merged(evaluation, evaluate(rest, it.store.embed, specs=lambda full: winners, **common))
    evaluation.report["mteb"] = it.full_precision(output / "mteb")
    write_report(evaluation, output / "report.json")
    write_pareto(evaluation.report, rows, pareto(rows), found, output / "pareto.html")
    spec = parse_spec(chosen.best["spec"], evaluation.report["width"])
    Codec.fit(spec, it.store.embed(first.documents, first.document_prompt)).save(output / "codec")
    print(codec_table(found, rows))
    if rest:
        print(other_tasks(evaluation.report["scores"], first.name))
    print("".join(f"{line}\n" for line in left_out_lines(evaluation.report)), end="")
    print(recommendation(chosen))
    say(f"plot: {output / 'pareto.html'}   codec: {output / 'codec'}   report: {output / 'report.json'}")


def compare_command(command: Compare) -> None:
    """`tempembed compare`."""
    from tempembed.compression.spec import parse_spec
    from tempembed.evaluation.compare import differences, load_report
    from tempembed.report.predictors import predictors
    from tempembed.report.table import difference_table, predictor_table

    loaded = [load_report(Path(name)) for name in command.reports]
    if len(loaded) < 2:
        raise UserError(f"expected at least two reports, got {len(loaded)}")
    shown = {str(parse_spec(text, loaded[0][0]["width"])) for text in command.codecs}
    for other in loaded[1:]:
        common = differences(loaded[0], other)
        rows = [row for row in common if row["spec"] in shown]
        if not rows:
            raise UserError(
                f"--codecs: expected codecs that both reports have, got {sorted(shown)}; "
                f"they have {', '.join(dict.fromkeys(row['spec'] for row in common))}"
            )
        print(f"{other[0]['model']} - {loaded[0][0]['model']}\n{difference_table(rows)}")
    print(predictor_table(predictors([report for report, _ in loaded]), len(loaded)))


def score_table(report: dict[str, Any]) -> str:
    """The report as text."""
    geometry = report["geometry"]
    lines = [
        "   ".join(
            f"{name} {value:.4g}" for name, value in geometry.items() if isinstance(value, int | float)
        ),
        f"{'task':<21}{'codec':<32}{'bytes':>6}{'score':>8}  {'95 % interval':<17}{'kept':>7}  {'95 % interval'}",
    ]
    for row in sorted(report["scores"], key=lambda r: (r["task"], -r["bytes_per_vector"], -r["score"])):
        line = (
            f"{row['task'][:20]:<21}{row['spec']:<32}{row['bytes_per_vector']:>6}{row['score']:8.4f}  "
            f"{row['ci_low']:.4f} - {row['ci_high']:.4f}"
        )
        if row["retention"] is not None:
            line += (
                f"  {row['retention']:7.3f}  {row['retention_ci_low']:.3f} - {row['retention_ci_high']:.3f}"
            )
        lines.append(line)
    lines += left_out_lines(report)
    lines += [
        f"{row['task']} of the vectors as the model gives them, not normalised: {row['raw_score']:.5f}"
        for row in report["scores"]
        if row["raw_score"] is not None
    ]
    lines += [f"mteb's own score of {name}: {score:.5f}" for name, score in report.get("mteb", {}).items()]
    return "\n".join(lines)


def left_out_lines(report: dict[str, Any]) -> list[str]:
    """Codecs that a task's documents cannot have, and why."""
    return [f"left out on {one['task']}: {one['why']}" for one in report.get("skipped", ())]


def selfcheck_command(command: SelfCheck) -> None:
    """`tempembed selfcheck`."""
    from tempembed.selfcheck import Check, selfcheck

    kinds: dict[str, list[Check]] = {}
    began = time.monotonic()
    for check in selfcheck():
        kinds.setdefault(check.kind, []).append(check)
        if command.verbose or not check.holds:
            say(f"{'ok  ' if check.holds else 'FAIL'} {check.error:8.1e} <= {check.bound:.0e}  {check.name}")
    print(f"{'promise':<44}{'checks':>7}{'worst error':>13}{'bound':>8}")
    for kind, checks in kinds.items():
        worst = max(checks, key=lambda check: check.error)
        verdict = "ok" if all(check.holds for check in checks) else "FAIL"
        print(f"{kind:<44}{len(checks):>7}{worst.error:>13.1e}{worst.bound:>8.0e}  {verdict}")
    failed = [check for checks in kinds.values() for check in checks if not check.holds]
    print(f"{sum(map(len, kinds.values()))} checks in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    if failed:
        sys.exit(1)


def plan_command(command: Plan) -> None:
    """`tempembed plan`."""
    from tempembed.plan import Request, available_bytes, check_step, predict, recommend

    names = {field.name for field in dataclasses.fields(Request)}
    request = Request(**{name: getattr(command, name) for name in names})
    available = round(command.memory_gb * 1e9) if command.memory_gb else available_bytes(command.num_workers)
    found = predict(request)
    best = recommend(found, available)
    print(f"memory of a worker: {available / 1e9:.2f} GB")
    print(f"{'':2}{'strategy':<10}{'negatives':>10}{'memory':>12}{'step':>12}  ")
    for cost in found:
        notes = ["another objective"] * (not cost.exact) + ["does not fit"] * (cost.bytes > available)
        if command.check and cost.bytes <= available and cost.strategy != "local":
            seconds, peak = check_step(request, cost.strategy)
            notes.append(
                f"measured {peak / 1e9:.2f} GB ({cost.bytes / peak - 1:+.0%}), {seconds:.2f} s ({cost.seconds / seconds - 1:+.0%})"
            )
        mark = "*" if cost is best else " "
        print(
            f"{mark:2}{cost.strategy:<10}{cost.num_negatives:>10,}{cost.bytes / 1e9:>9.2f} GB{cost.seconds:>10.2f} s"
            f"  {'; '.join(notes)}",
            flush=True,
        )
    if best is None:
        raise UserError(
            f"expected a way that fits {available / 1e9:.2f} GB, the least is {min(c.bytes for c in found) / 1e9:.2f} GB: "
            "lower --batch-size or --micro-batch-tokens, or take more workers"
        )
    flag = {"cached": "add --gradient-cache", "tiled": "the default of tempembed train"}
    print(
        f"* the fastest that fits and trains this objective: {best.strategy} ({flag.get(best.strategy, 'tiny batch')})"
    )


COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "train": (Train, train_command),
    "evaluate": (Evaluate, evaluate_command),
    "codecs": (Codecs, codecs_command),
    "compare": (Compare, compare_command),
    "selfcheck": (SelfCheck, selfcheck_command),
    "plan": (Plan, plan_command),
    "recommend": (Recommend, recommend_command),
    "export": (Export, export_command),
    "search": (Search, search_command),
}


def run(function: Callable[[], None]) -> None:
    """Call it; print a user's error without a traceback and exit with 2."""
    try:
        function()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)


def main() -> None:
    """Entry point of `tempembed`."""
    union: Any = None
    for name, (settings, _) in COMMANDS.items():
        member: Any = Annotated[settings, tyro.conf.subcommand(name)]
        union = member if union is None else union | member

    def parse_and_run() -> None:
        command = tyro.cli(union, prog="tempembed", description=__doc__, config=(tyro.conf.OmitArgPrefixes,))
        dict(COMMANDS.values())[type(command)](command)

    run(parse_and_run)


if __name__ == "__main__":
    main()
