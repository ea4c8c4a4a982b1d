"""Our texts as mteb's tasks, which hold their data, so that mteb can measure an encoder on them offline."""

from typing import Any

import datasets
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata

from tempembed.evaluation.clustering import Clustering
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.folder_task import FolderTask
from tempembed.evaluation.pairs import STS, PairClassification
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.task import Task

LOCAL = "local"
"""Where the data of our tasks is, in their metadata."""


def to_mteb(task: Task) -> AbsTask | None:
    """A task of ours as mteb's, with its data, so that mteb itself can measure any encoder on it, offline.

    None for a kind that has no form in mteb here, and for clustering, whose samples mteb draws itself.
    """
    if isinstance(task, Retrieval | Reranking):
        return _searched(task)
    return _pairs(task) if isinstance(task, STS | PairClassification) else None


def _searched(task: Retrieval | Reranking) -> AbsTask:
    documents = {"id": [f"{i:09d}" for i in range(len(task.documents))], "text": list(task.documents)}
    queries = {"id": [f"q{i}" for i in range(len(task.queries))], "text": list(task.queries)}
    relevant = [r if isinstance(r, dict) else dict.fromkeys(r, 1) for r in task.relevant]
    ranked = None
    if isinstance(task, Reranking):
        ranked = {f"q{i}": [f"{d:09d}" for d in c] for i, c in enumerate(task.candidates)}
    data: Any = {
        "corpus": datasets.Dataset.from_dict({**documents, "title": [""] * len(task.documents)}),
        "queries": datasets.Dataset.from_dict(queries),
        "relevant_docs": {
            f"q{i}": {f"{d:09d}": int(g) for d, g in gains.items()} for i, gains in enumerate(relevant)
        },
        "top_ranked": ranked,
    }
    type_ = "Reranking" if ranked else "Retrieval"
    return local_task(AbsTaskRetrieval, task.name, type_, task.metric, {"default": {"test": data}})


def _pairs(task: STS | PairClassification) -> AbsTask:
    texts = {
        "sentence1": [task.queries[i] for i in task.left],
        "sentence2": [task.documents[i] for i in task.right],
    }
    if isinstance(task, STS):
        data = _split("test", {**texts, "score": list(task.scores)})
        return local_task(AbsTaskSTS, task.name, "STS", task.metric, data)
    data = _split("test", {**texts, "labels": [int(p) for p in task.positive]})
    return local_task(AbsTaskPairClassification, task.name, "PairClassification", task.metric, data)


def corpus_tasks(corpus: Corpus) -> list[AbsTask]:
    """The tasks of `corpus.tasks()` as mteb's, of the kinds that have a form there; clustering draws the samples that ours has."""
    found = []
    for task in corpus.tasks():
        if isinstance(task, Clustering):
            rows = [
                {"sentences": text, "labels": label}
                for text, label in zip(corpus.documents, corpus.labels, strict=True)
                if label is not None
            ]
            found.append(_sampled(task.name, _split("test", rows), len(task.samples[0]), len(task.samples)))
        elif theirs := to_mteb(task):
            found.append(theirs)
    return found


def _sampled(name: str, data: Any, size: int, num: int) -> AbsTask:
    """Clustering as mteb 2 has it: `num` samples of `size` documents."""
    attributes = {
        "max_fraction_of_documents_to_embed": None,
        "max_documents_per_cluster": size,
        "n_clusters": num,
    }
    return local_task(AbsTaskClustering, name, "Clustering", "v_measure", data, **attributes)


def _split(name: str, rows: Any) -> datasets.DatasetDict:
    made = datasets.Dataset.from_list(rows) if isinstance(rows, list) else datasets.Dataset.from_dict(rows)
    return datasets.DatasetDict({name: made})


def local_task(
    base: type[AbsTask], name: str, type_: str, metric: str, data: Any, **attributes: Any
) -> AbsTask:
    """An mteb task that holds its data."""
    metadata = TaskMetadata(
        name=name, description=f"local data: {name}", type=type_, main_score=metric, eval_langs=["eng-Latn"],  # type: ignore[arg-type]
        eval_splits=["test"], dataset={"path": LOCAL, "revision": LOCAL},
    )  # fmt: skip

    def load_data(self: AbsTask, num_proc: int | None = None, **_: Any) -> None:
        self.dataset = data
        self.data_loaded = True

    made = type(f"Local{base.__name__}", (base,), {"metadata": metadata, "load_data": load_data, **attributes})()  # fmt: skip
    made.load_data()
    return made


def folder_task(task: FolderTask) -> AbsTask:
    """A folder of local files as mteb's task."""
    if task.kind in ("retrieval", "reranking"):
        corpus = {"title": [""] * len(task.columns["corpus"]["id"]), **task.columns["corpus"]}
        data = {
            "corpus": datasets.Dataset.from_dict(corpus),
            "queries": datasets.Dataset.from_dict(task.columns["queries"]),
            "relevant_docs": task.relevant,
            "top_ranked": task.candidates,
        }
        type_, metric = ("Reranking", "map_at_1000") if task.candidates else ("Retrieval", "ndcg_at_10")
        return local_task(AbsTaskRetrieval, task.name, type_, metric, {"default": {"test": data}})
    columns = _coded(task.columns) if task.kind == "classification" else task.columns
    tables = {name: datasets.Dataset.from_dict(table) for name, table in columns.items()}
    data = datasets.DatasetDict(tables)
    if task.kind == "clustering":
        size = min(AbsTaskClustering.max_documents_per_cluster, len(data["test"]))
        return _sampled(task.name, data, size, AbsTaskClustering.n_clusters)
    forms: dict[str, tuple[Any, str, str]] = {
        "clustering_sets": (AbsTaskClusteringLegacy, "Clustering", "v_measure"),
        "sts": (AbsTaskSTS, "STS", "cosine_spearman"),
        "pair_classification": (AbsTaskPairClassification, "PairClassification", "cosine_ap"),
        "classification": (AbsTaskClassification, "Classification", "accuracy"),
    }
    base, type_, metric = forms[task.kind]
    return local_task(base, task.name, type_, metric, data)


def _coded(tables: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[Any]]]:
    """Two labels as 0 and 1, in the order of their names: of two, mteb's average precision takes no text."""
    names = sorted({label for table in tables.values() for label in table["label"]})
    if len(names) != 2:
        return tables
    return {
        part: {**table, "label": [names.index(label) for label in table["label"]]}
        for part, table in tables.items()
    }
