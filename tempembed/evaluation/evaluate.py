"""Measure a model: geometry, and every codec's score and retention, from embeddings that are made once."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.basis import unit
from tempembed.codecs.codec import check_finite
from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec, paper_specs
from tempembed.encoders.role import RoleName
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.statistics import Statistic, counts, interval, ratio
from tempembed.evaluation.task import Task
from tempembed.geometry.measure import geometry
from tempembed.system.errors import UserError

Embed = Callable[[Sequence[str], RoleName, str | None], Float[Tensor, "M D"]]
"""Texts, their role, and a prompt in place of the role's own, to float32 embeddings."""
Specs = Callable[[int], Sequence[Spec]]
"""The codecs for a width."""
ALONE = ("clustering", "classification")
"""Kinds whose fits leave half of the cores idle: they run beside the others."""


@dataclass(frozen=True)
class Evaluation:
    """A report as plain JSON values, and the bootstrap replicates that its intervals are made of."""

    report: dict[str, Any]
    replicates: dict[str, Float[Tensor, " R"]]
    """By `task|codec`. Of two models on one task they are paired: their difference is that of the models."""


def evaluate(
    tasks: Sequence[Task],
    embed: Embed,
    *,
    model: str,
    specs: Specs = paper_specs,
    by_kind: Mapping[str, Specs] | None = None,
    labels: Sequence[str | None] = (),
    raw: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Score every codec on every task.

    Args:
        tasks: of unlike names.
        embed: called once for each list of texts; tasks that share a list share its embeddings.
        model: its name in the report.
        specs: the codecs for a width; float32 at full width is always among them.
        by_kind: in their place for tasks of a kind.
        labels: of the first task's documents, for the geometry.
        raw: where the lengths of vectors matter, score them as the model gives them as well, as mteb does (k-means of
            such takes several times as long).
        say: takes lines of progress.

    Raises:
        UserError: no task, embeddings with NaN, a codec that does not fit the width.
    """
    if not tasks:
        raise UserError("expected at least one task to measure, got none")
    made: dict[tuple[int, RoleName, str | None], Tensor] = {}
    corpora: dict[tuple[int, str | None], Documents] = {}

    def embedded(texts: Sequence[str], role: RoleName, prompt: str | None) -> Tensor:
        key = (id(texts), role, prompt)
        if key not in made:
            if len(texts):
                say(f"embedding {len(texts):,} texts")
            made[key] = embed(texts, role, prompt) if len(texts) else torch.empty(0, 0)
            if len(texts):
                check_finite(made[key])
        return made[key]

    scores: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    replicates: dict[str, Tensor] = {}
    full = 0
    measures: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as beside:
        pending: list[Any] = []
        for task in sorted(tasks, key=lambda task: task.kind not in ALONE):
            key = (id(task.documents), task.document_prompt)
            if key not in corpora:
                corpora[key] = Documents(embedded(task.documents, "document", task.document_prompt))
            documents = corpora[key]
            queries = embedded(task.queries, "query", task.query_prompt)
            full = documents.unit_MD.shape[1]
            wanted = list(dict.fromkeys([Spec(width=full), *(by_kind or {}).get(task.kind, specs)(full)]))
            say(f"{task.name}: {len(wanted)} codecs")
            arguments = (task, queries, documents, wanted, raw, say)
            if task.kind in ALONE:
                pending.append(beside.submit(_measured, *arguments))
            else:
                pending.append(_done(_measured(*arguments)))
            if task is tasks[0]:
                measures = _geometry(task, queries, documents, labels)
            if len(tasks) > 8:  # a benchmark: its tasks share no texts
                made.clear()
                corpora.clear()
    for found in pending:
        rows, left_out, resampled = found.result()
        scores += rows
        skipped += left_out
        replicates |= resampled
    if own := {task.name: task.num_own_texts for task in tasks if task.num_own_texts}:
        listed = ", ".join(f"{num:,} of {name}" for name, num in own.items())
        say(f"queries that are documents as well, each left out of its own ranking: {listed}")
    first = tasks[0]
    parts_of = {task.name: task.part_of or task.name for task in tasks}
    return Evaluation(
        {
            "model": model,
            "data": {
                "num_queries": len(first.queries), "num_documents": len(first.documents),
                "tasks": {task.name: _described(task) for task in tasks},
            },
            "width": full,
            "geometry": measures,
            "scores": scores,
            "means": means_over_tasks(scores, replicates, parts_of),
            "skipped": skipped,
        },
        replicates,
    )  # fmt: skip


def _described(task: Task) -> dict[str, Any]:
    return {
        "kind": task.kind, "fingerprint": task.fingerprint, "part_of": task.part_of or task.name,
        "num_own_texts": task.num_own_texts,
    }  # fmt: skip


def merged(first: Evaluation, second: Evaluation) -> Evaluation:
    """Two of one model on different tasks, as one; data and geometry are the first's."""
    a, b = first.report, second.report
    replicates = first.replicates | second.replicates
    scores = a["scores"] + b["scores"]
    report = {
        **a,
        "data": {**a["data"], "tasks": a["data"]["tasks"] | b["data"]["tasks"]},
        "scores": scores,
        "means": means_over_tasks(
            scores,
            replicates,
            {name: task["part_of"] for name, task in (a["data"]["tasks"] | b["data"]["tasks"]).items()},
        ),
        "skipped": a["skipped"] + b["skipped"],
    }
    return Evaluation(report, replicates)


class _done:
    """A result that is there already, with a future's face."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self) -> Any:
        """The value."""
        return self._value


def _measured(
    task: Task,
    queries: Tensor,
    documents: Documents,
    wanted: Sequence[Spec],
    raw: bool,
    say: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[str, Tensor]]:
    families: dict[str, list[tuple[Spec, Statistic]]] = {}
    skipped: dict[str, str] = {}
    last, number = time.monotonic(), 0
    for number, (spec, found) in enumerate(task.measure(queries, documents, wanted), 1):
        if isinstance(found, UserError):
            skipped.setdefault(spec.family, str(found))
        else:
            families.setdefault(spec.family, []).append((spec, found))
        if time.monotonic() - last > 10:
            last = time.monotonic()
            say(f"{task.name}: {number} of {len(wanted)} codecs, {spec}")
    full = str(Spec(width=documents.unit_MD.shape[1]))
    resamples = counts(task.name, families[full][0][1].num_items)
    replicates = {
        family: torch.stack([found.resampled(resamples) for _, found in draws]).mean(0)
        for family, draws in families.items()
    }
    reference = sum(found.value for _, found in families[full])
    of_raw = task.measure_raw(documents) if raw else None
    rows = []
    for family, draws in families.items():
        values = torch.tensor([found.value for _, found in draws], dtype=torch.float64)
        score = values.mean().item()
        spec = replace(draws[0][0], seed=0)
        low, high = interval(replicates[family])
        row = {
            "task": task.name, "kind": task.kind, "metric": task.metric, "spec": family, "codec": codec_name(spec),
            "dim": spec.width, "bytes_per_vector": spec.bytes_per_vector, "search_bytes_per_vector": spec.search_bytes,
            "score": score, "ci_low": low, "ci_high": high,
            "raw_score": of_raw.value if of_raw and family == full else None,
            "retention": None if reference <= 0 else 1.0 if family == full else score / reference,
            "num_items": resamples.shape[1],
            "num_draws": len(values), "std_over_draws": values.std().item() if len(values) > 1 else None,
        }  # fmt: skip
        row["retention_ci_low"], row["retention_ci_high"] = interval(
            ratio(replicates[family], replicates[full])
        )
        rows.append(row)
    left_out = [{"task": task.name, "spec": family, "why": why} for family, why in skipped.items()]
    return rows, left_out, {f"{task.name}|{family}": found.float() for family, found in replicates.items()}


def codec_name(spec: Spec) -> str:
    """Short name of a codec at any width: float32, random, binary, binary_rerank (the paper's), pca_int8, pq128 ..."""
    if spec.method == "random" and spec.numbers == "float32":
        return "random"
    numbers = f"pq{spec.pq_bytes}" if spec.numbers == "pq" else spec.numbers
    name = numbers if spec.method == "prefix" else f"{spec.method}_{numbers}"
    if spec.rerank:
        paper = spec.rerank == "bits" and spec.depth == 100
        name += "_rerank" if paper else f"_rerank_{spec.rerank}_{spec.depth}"
    return name


def means_over_tasks(
    scores: Sequence[dict[str, Any]], replicates: dict[str, Tensor], part_of: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The mean over the tasks of a kind, of each codec that all of them have.

    `retention_of_means` is mean score / mean full score, `mean_of_retentions` the mean over tasks of score / full
    score; the paper does not say which it takes (docs/design/paper.md 1.4). Intervals: every task resampled by itself. Parts of a task
    (`part_of`: name to task), such as the sub-forums of CQADupstack, share the weight of one.
    """
    kinds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in scores:
        kinds.setdefault(row["kind"], {}).setdefault(row["spec"], []).append(row)
    found = []
    for kind, specs in kinds.items():
        num_tasks = max(map(len, specs.values()))
        floats = [row for rows in specs.values() for row in rows if row["codec"] == "float32"]
        full = {row["task"]: row for row in sorted(floats, key=lambda row: row["dim"])}  # the widest stays
        for spec, rows in specs.items():
            if len(rows) < num_tasks or any(row["retention"] is None for row in rows):
                continue
            whole_of = [full[row["task"]] for row in rows]
            weights = _weights([(part_of or {}).get(row["task"], row["task"]) for row in rows])
            parts = weights @ torch.stack([replicates[f"{row['task']}|{spec}"] for row in rows]).double()
            wholes = torch.stack([replicates[f"{row['task']}|{row['spec']}"] for row in whole_of]).double()
            each = torch.stack([replicates[f"{row['task']}|{spec}"] for row in rows]).double()
            score = float(weights @ torch.tensor([row["score"] for row in rows], dtype=torch.float64))
            whole = float(weights @ torch.tensor([row["score"] for row in whole_of], dtype=torch.float64))
            kept = float(weights @ torch.tensor([row["retention"] for row in rows], dtype=torch.float64))
            of_means, of_ratios = ratio(parts, weights @ wholes), weights @ ratio(each, wholes)
            found.append(
                {
                    "kind": kind, "spec": spec, "codec": rows[0]["codec"], "dim": rows[0]["dim"],
                    "bytes_per_vector": rows[0]["bytes_per_vector"], "num_tasks": num_tasks, "score": score,
                    "ci": interval(parts),
                    "retention_of_means": score / whole, "retention_of_means_ci": interval(of_means),
                    "mean_of_retentions": kept,
                    "mean_of_retentions_ci": interval(of_ratios),
                }
            )  # fmt: skip
    return found


def _weights(tasks: Sequence[str]) -> Float[Tensor, " T"]:
    """Equal for all tasks, and within a task for its parts."""
    num = len(set(tasks))
    return torch.tensor([1 / (num * tasks.count(name)) for name in tasks], dtype=torch.float64)


def _geometry(
    task: Task, queries: Tensor, documents: Documents, labels: Sequence[str | None]
) -> dict[str, Any]:
    positives = None
    if isinstance(task, Retrieval):
        # each document once: the right document of one query must not be a negative of another
        pairs: dict[int, int] = {}
        for query, relevant in enumerate(task.relevant):
            if relevant:
                pairs.setdefault(next(iter(relevant)), query)
        if pairs:
            positives = unit(queries[list(pairs.values())]), documents.unit_MD[list(pairs)]
    return geometry(documents.unit_MD, positives, labels)
