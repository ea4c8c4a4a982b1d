"""mteb's tasks as ours."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import mteb
import numpy as np
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
    AbsTaskSummarization,
)
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.types import PromptType

from tempembed.encoders.role import Prompts
from tempembed.evaluation.classification import Classification
from tempembed.evaluation.clustering import Clustering
from tempembed.evaluation.mteb_local import LOCAL
from tempembed.evaluation.mteb_prompts import task_prompt
from tempembed.evaluation.own_text import own_texts
from tempembed.evaluation.pairs import STS, PairClassification
from tempembed.evaluation.reranking import Reranking
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.summarization import Summarization
from tempembed.evaluation.task import Task
from tempembed.system.errors import UserError

CLUSTERING_BATCH = 500  # of mteb's older protocol (docs/design/paper.md 4.8)


def named_tasks(names: Sequence[str]) -> list[AbsTask]:
    """The tasks of benchmarks and tasks by their mteb names, those of the parts in place of an aggregate.

    Raises:
        UserError: a name that mteb has neither a benchmark nor a task for.
    """
    found: list[AbsTask] = []
    for name in names:
        try:
            tasks = list(mteb.get_benchmark(name).tasks)
        except KeyError:
            try:
                tasks = [mteb.get_task(name)]
            except KeyError as error:
                raise UserError(
                    f"--tasks: expected names of mteb benchmarks or tasks, such as 'MTEB(eng, v1)' or NFCorpus, got "
                    f"{name!r} ({str(error)[:200]})"
                ) from error
        found += [part for task in tasks for part in _parts(task)]
    return found


def _parts(task: AbsTask) -> list[AbsTask]:
    if not isinstance(task, AbsTaskAggregate):
        return [task]
    for part in task.tasks:
        part.part_of = task.metadata.name  # type: ignore[attr-defined]
    return list(task.tasks)


def to_ours(task: AbsTask, prompts: Prompts) -> list[Task]:
    """One task of ours for each language (subset) and split that mteb would run; loads its data.

    Args:
        task: of mteb.
        prompts: the model's.

    Raises:
        UserError: the data cannot be had, or a kind of task that is not measured here.
    """
    name = task.metadata.name
    try:
        if not task.data_loaded:
            task.load_data()
        if isinstance(task, AbsTaskRetrieval):
            task.convert_v1_dataset_format_to_v2(num_proc=None)
    except Exception as error:  # network, hub, cache and format errors of many libraries
        raise UserError(
            f"task {name}: expected data from the Hugging Face hub or its cache, and could not load it "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}); connect, fill the cache, or give a folder "
            "of local files with --task-folder"
        ) from error
    found: list[Task] = []
    for subset, split, data in _parts_of_data(task):
        parts = (name, *([subset] if subset != "default" else []), *([split] if len(task.eval_splits) > 1 else []))  # fmt: skip
        common = {
            "name": "/".join(parts),
            "part_of": getattr(task, "part_of", name),
            "query_prompt": task_prompt(prompts, task.metadata, PromptType.query),
            "document_prompt": task_prompt(prompts, task.metadata, PromptType.document),
        }
        found.append(_one(task, data, split, common, prompts))
    return found


def _parts_of_data(task: AbsTask) -> Iterator[tuple[str, str, Any]]:
    """(subset, split, data) of what mteb would run."""
    for split in task.eval_splits:
        for subset in task.hf_subsets:
            data: Any = task.dataset
            if subset in data and not isinstance(data.get(split), datasets.Dataset):
                data = data[subset]
            elif split not in data:
                continue
            yield subset, split, data


def _one(task: AbsTask, data: Any, split: str, common: dict[str, Any], prompts: Prompts) -> Task:
    if isinstance(task, AbsTaskRetrieval) and not task.skip_first_result:
        return _retrieval(task, data[split], common)
    common["query_prompt"] = common["document_prompt"] = task_prompt(prompts, task.metadata, None)
    if isinstance(task, AbsTaskClustering):
        return _clustering(task, data[split], common)
    if isinstance(task, AbsTaskClusteringLegacy):
        return _clustering_sets(task, data[split], common)
    if isinstance(task, AbsTaskSTS):
        one, two = task.column_names
        pairs = _paired(data[split][one], data[split][two])
        return STS(**common, **pairs, scores=[float(s) for s in data[split]["score"]])
    if isinstance(task, AbsTaskPairClassification):
        rows = datasets.Dataset.from_dict(data[split][0]) if len(data[split]) == 1 else data[split]
        pairs = _paired(rows[task.input1_column_name], rows[task.input2_column_name])
        return PairClassification(**common, **pairs, positive=[bool(p) for p in rows[task.label_column_name]])
    if isinstance(task, AbsTaskClassification) and not task.is_cross_validation:
        return _classification(task, data, split, common)
    if isinstance(task, AbsTaskSummarization):
        return _summarization(task, data[split], common)
    raise UserError(
        f"task {common['name']}: expected a retrieval, reranking, clustering, STS, pair classification, "
        f"classification or summarization task, got {task.metadata.type}"
    )


def _retrieval(task: AbsTaskRetrieval, data: Any, common: dict[str, Any]) -> Task:
    # documents in the order of their ids: trec_eval breaks ties by the id
    texts = dict(sorted(_documents(data).items()))
    number = {id_: i for i, id_ in enumerate(texts)}
    asked = _asked(data)
    itself = _left_out(task, data, asked, texts)
    common |= {
        "queries": list(asked.values()), "documents": list(texts.values()), "num_own_texts": len(itself)
    }  # fmt: skip
    gains = [
        {number[d]: float(gain) for d, gain in data["relevant_docs"][id_].items() if d in number and gain > 0}
        for id_ in asked
    ]
    if task.metadata.type == "Reranking" and data["top_ranked"]:
        ranked = (set(data["top_ranked"][id_]) - itself.get(id_, set()) for id_ in asked)
        candidates = [sorted(number[d] for d in found if d in number) for found in ranked]
        return Reranking(**common, candidates=candidates, relevant=[list(row) for row in gains])
    excluded = [sorted(number[d] for d in itself.get(id_, ())) for id_ in asked] if itself else ()
    return Retrieval(**common, relevant=gains, excluded=excluded)


def _documents(data: Any) -> dict[str, str]:
    """Documents by id, title and text joined as mteb joins them."""
    corpus = data["corpus"]
    titles = list(corpus["title"]) if "title" in corpus.column_names else [None] * len(corpus)
    return {
        id_: f"{title} {text}".strip() if title else (text or "").strip()
        for id_, title, text in zip(list(corpus["id"]), titles, list(corpus["text"]), strict=True)
    }


def _asked(data: Any) -> dict[str, str]:
    """Queries that have judgements, by id."""
    texts = zip(data["queries"]["id"], data["queries"]["text"], strict=True)
    return {id_: text for id_, text in texts if data["relevant_docs"].get(id_)}


def _left_out(
    task: AbsTaskRetrieval, data: Any, asked: Mapping[str, str], texts: Mapping[str, str]
) -> dict[str, set[str]]:
    """Documents that are no part of a query's ranking, by id, for queries that are documents as well.

    In local data they are found by the text, unless they are judged right. Tasks of mteb's own are left as they are, so that
    scores are those of its leaderboard; where such a task says that equal ids are one text (`ignore_identical_ids`), they are
    found by the id, whatever the judgement, as mteb has it.
    """
    out: dict[str, set[str]] = {}
    if task.metadata.dataset["path"] == LOCAL:
        ids = list(texts)
        number = {id_: i for i, id_ in enumerate(ids)}
        right = [
            {number[d] for d, gain in data["relevant_docs"][id_].items() if gain > 0 and d in number}
            for id_ in asked
        ]
        found = own_texts(list(asked.values()), list(texts.values()), right)
        out = {id_: {ids[i] for i in own} for id_, own in zip(asked, found, strict=False) if own}
    if task.ignore_identical_ids:
        for id_ in asked.keys() & texts.keys():
            out.setdefault(id_, set()).add(id_)
    return out


def all_left_out(tasks: Sequence[AbsTask]) -> dict[tuple[str, str, str], dict[str, set[str]]]:
    """Documents that a query's ranking leaves out (`_left_out`), by task, subset and split, and by the query's id."""
    found = {
        (task.metadata.name, subset, split): _left_out(
            task, data[split], _asked(data[split]), _documents(data[split])
        )
        for task in tasks
        if isinstance(task, AbsTaskRetrieval) and task.data_loaded and not task.skip_first_result
        for subset, split, data in _parts_of_data(task)
    }
    return {key: out for key, out in found.items() if out}


def _clustering(task: AbsTaskClustering, data: datasets.Dataset, common: dict[str, Any]) -> Clustering:
    """The same draws as mteb's: `Random(seed)` samples the documents, then those of each clustering, level by level."""
    rng = random.Random(task.seed)
    most = task.max_document_to_embed
    if task.max_fraction_of_documents_to_embed is not None:
        most = int(task.max_fraction_of_documents_to_embed * len(data))
    if most is not None:
        data = data.select(rng.sample(range(len(data)), k=min(len(data), most)))
    labels = [label if isinstance(label, list) else [label] for label in data[task.label_column_name]]
    depth = max(map(len, labels))
    samples, names, sizes = [], [], []
    for level in range(min(depth, task.max_depth) if task.max_depth is not None else depth):
        # mteb marks a document without a label of this level by -1 and leaves it out; among labels that are text,
        # NumPy makes "-1" of it, and it stays as a label of its own
        at_level = np.array([label[level] if len(label) > level else -1 for label in labels])
        having = np.flatnonzero([label != -1 for label in at_level])
        for _ in range(task.n_clusters):
            rows = [int(having[i]) for i in rng.choices(range(len(having)), k=task.max_documents_per_cluster)]
            samples.append(rows)
            names.append([str(at_level[i]) for i in rows])
            sizes.append(len(np.unique(at_level[having])))
    return Clustering(
        **common, queries=(), documents=list(data[task.input_column_name]), samples=samples, labels=names,
        num_clusters=sizes, batch_size=task.k_mean_batch_size,
    )  # fmt: skip


def _clustering_sets(
    task: AbsTaskClusteringLegacy, data: datasets.Dataset, common: dict[str, Any]
) -> Clustering:
    texts: list[str] = []
    samples, names = [], []
    for row in data:
        sentences = row[task.input_column_name]
        samples.append(list(range(len(texts), len(texts) + len(sentences))))
        names.append([str(label) for label in row[task.label_column_name]])
        texts += sentences
    return Clustering(
        **common, queries=(), documents=texts, samples=samples, labels=names,
        num_clusters=[len(set(labels)) for labels in names], batch_size=CLUSTERING_BATCH, n_init="auto",
    )  # fmt: skip


def _paired(left: Sequence[str], right: Sequence[str]) -> dict[str, Any]:
    return {
        "queries": list(left), "documents": list(right), "left": range(len(left)), "right": range(len(right)),
    }  # fmt: skip


def _summarization(task: Any, data: datasets.Dataset, common: dict[str, Any]) -> Summarization:
    texts: list[str] = []

    def rows(column: str) -> list[range]:
        found = []
        for summaries in data[column]:
            found.append(range(len(texts), len(texts) + len(summaries)))
            texts.extend(summaries)
        return found

    machine, human = rows(task.machine_summaries_column_name), rows(task.human_summaries_column_name)
    ratings = [list(map(float, row)) for row in data[task.relevancy_column_name]]
    return Summarization(**common, queries=(), documents=texts, machine=machine, human=human, ratings=ratings)


def _classification(
    task: AbsTaskClassification, data: Any, split: str, common: dict[str, Any]
) -> Classification:
    train, test = data[task.train_split], data[split]
    experiments, shuffled = [], None
    for i in range(task.n_experiments):  # mteb's own draws: each shuffles the order of the last
        _, shuffled, rows = task._undersample_data(train, i, shuffled)
        experiments.append(rows)
    column = task.input_column_name
    labels = [str(label) for part in (train, test) for label in part[task.label_column_name]]
    return Classification(
        **common, queries=(), documents=[*train[column], *test[column]], labels=labels,
        experiments=experiments, test=range(len(train), len(train) + len(test)),
    )  # fmt: skip
