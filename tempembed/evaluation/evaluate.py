"""Measure a model: geometry, and every codec's score and retention, from embeddings that are made once."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.basis import normalized
from tempembed.codecs.codec import check_finite
from tempembed.codecs.lab import Documents
from tempembed.codecs.sets import paper_specs
from tempembed.codecs.spec import Spec
from tempembed.encoders.role import RoleName
from tempembed.evaluation.means import means_over_tasks
from tempembed.evaluation.report import DataFacts, Evaluation, Report, TaskFacts
from tempembed.evaluation.score import Scores, score_codecs
from tempembed.evaluation.task import Task
from tempembed.geometry.measure import geometry
from tempembed.geometry.modalities import of_modalities
from tempembed.inputs.picture_store import is_picture
from tempembed.system.errors import UserError

Embed = Callable[[Sequence[str], RoleName, str | None], Float[Tensor, "M D"]]
"""Texts, their role, and a prompt in place of the role's own, to float32 embeddings."""
Specs = Callable[[int], Sequence[Spec]]
"""The codecs for a width."""
MANY_TASKS = 8
"""More are a benchmark, whose tasks share no texts."""


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
    embeddings = _Embeddings(embed, say)
    full = 0
    measures: dict[str, Any] = {}
    pending: list[Future[Scores]] = []
    with ThreadPoolExecutor(1) as beside:
        for task in sorted(tasks, key=lambda task: not task.fits_models):
            documents, queries = embeddings.documents(task), embeddings.queries(task)
            full = documents.unit_MD.shape[1]
            wanted = list(dict.fromkeys([Spec(width=full), *(by_kind or {}).get(task.kind, specs)(full)]))
            say(f"{task.name}: {len(wanted)} codecs")
            arguments = (task, queries, documents, wanted, raw, say)
            if task.fits_models:  # on one core: the others go on meanwhile
                pending.append(beside.submit(score_codecs, *arguments))
            else:
                pending.append(Future())
                pending[-1].set_result(score_codecs(*arguments))
            if task is tasks[0]:
                measures = geometry(documents.unit_MD, _positives(task, queries, documents), labels)
                if len(task.queries) and is_picture(task.queries[0]) != is_picture(task.documents[0]):
                    measures |= of_modalities(normalized(queries), documents.unit_MD)
            if len(tasks) > MANY_TASKS:
                embeddings.forget()
    _say_own_texts(tasks, say)
    return _evaluation(tasks, model, full, measures, [future.result() for future in pending])


def _say_own_texts(tasks: Sequence[Task], say: Callable[[str], None]) -> None:
    """Say how many queries are documents as well."""
    if own := {task.name: task.num_own_texts for task in tasks if task.num_own_texts}:
        listed = ", ".join(f"{num:,} of {name}" for name, num in own.items())
        say(f"queries that are documents as well, each left out of its own ranking: {listed}")


def _evaluation(
    tasks: Sequence[Task], model: str, width: int, measures: dict[str, Any], found: Sequence[Scores]
) -> Evaluation:
    """The report on the scores of all tasks."""
    data = DataFacts(
        num_queries=len(tasks[0].queries), num_documents=len(tasks[0].documents),
        tasks={task.name: _facts(task) for task in tasks},
    )  # fmt: skip
    scores = tuple(row for each in found for row in each.rows)
    replicates = {key: values for each in found for key, values in each.replicates.items()}
    report = Report(
        model=model, data=data, width=width, geometry=measures, scores=scores,
        means=tuple(means_over_tasks(scores, replicates, _part_of(data))),
        skipped=tuple(one for each in found for one in each.skipped),
        by_source=tuple(row for each in found for row in each.by_source) or None,
    )  # fmt: skip
    return Evaluation(report=report, replicates=replicates)


def merged(first: Evaluation, second: Evaluation) -> Evaluation:
    """Two of one model on different tasks, as one; the geometry and the sizes are the first's."""
    a, b = first.report, second.report
    replicates = {**first.replicates, **second.replicates}
    data = replace(a.data, tasks={**a.data.tasks, **b.data.tasks})
    scores = a.scores + b.scores
    means = tuple(means_over_tasks(scores, replicates, _part_of(data)))
    by_source = (*(a.by_source or ()), *(b.by_source or ())) or None
    report = replace(
        a, data=data, scores=scores, means=means, skipped=a.skipped + b.skipped, by_source=by_source
    )
    return Evaluation(report=report, replicates=replicates)


class _Embeddings:
    """The embeddings of the tasks' texts, each list of texts embedded once."""

    def __init__(self, embed: Embed, say: Callable[[str], None]) -> None:
        self._embed, self._say = embed, say
        self._made: dict[tuple[int, RoleName, str | None], Tensor] = {}
        self._corpora: dict[tuple[int, str | None], Documents] = {}

    def queries(self, task: Task) -> Float[Tensor, "Q D"]:
        """Embeddings of a task's queries; may be none."""
        return self._of(task.queries, "query", task.query_prompt)

    def documents(self, task: Task) -> Documents:
        """Embeddings of a task's documents, with the codecs that were fitted on them so far."""
        key = (id(task.documents), task.document_prompt)
        if key not in self._corpora:
            embeddings = self._of(task.documents, "document", task.document_prompt)
            self._corpora[key] = Documents(embeddings)
        return self._corpora[key]

    def forget(self) -> None:
        """Free the memory."""
        self._made.clear()
        self._corpora.clear()

    def _of(self, texts: Sequence[str], role: RoleName, prompt: str | None) -> Tensor:
        if not len(texts):
            return torch.empty(0, 0)
        key = (id(texts), role, prompt)
        if key not in self._made:
            self._say(f"embedding {len(texts):,} texts")
            self._made[key] = self._embed(texts, role, prompt)
            check_finite(self._made[key])
        return self._made[key]


def _facts(task: Task) -> TaskFacts:
    return TaskFacts(
        kind=task.kind, fingerprint=task.fingerprint, part_of=task.part_of or task.name,
        num_own_texts=task.num_own_texts,
    )  # fmt: skip


def _part_of(data: DataFacts) -> dict[str, str]:
    return {name: facts.part_of for name, facts in data.tasks.items()}


def _positives(task: Task, queries_QD: Tensor, documents: Documents) -> tuple[Tensor, Tensor] | None:
    """Unit vectors of queries and of a right document of each; None where a task has none."""
    pairs = task.positives()
    if not pairs:
        return None
    return normalized(queries_QD[list(pairs.values())]), documents.unit_MD[list(pairs)]
