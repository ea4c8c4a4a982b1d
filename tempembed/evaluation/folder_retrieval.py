"""A search of a folder: corpus, queries, judgments and maybe candidates, as BEIR has them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempembed.evaluation import qrels
from tempembed.evaluation.cells import identity, list_of, text_or_nothing, title
from tempembed.evaluation.folder_task import FolderTask, ReadOptions, find_file
from tempembed.evaluation.task_file import Column, TaskFile, check_names, column_names, read_task_file
from tempembed.system.errors import UserError
from tempembed.system.wording import quoted, shown

_CORPUS = {
    "id": Column(("_id", "id", *qrels.DOCUMENT_IDS), identity),
    "text": Column(
        ("text", "contents", "content", "body", "passage", "document"), text_or_nothing, optional=True
    ),
    "title": Column(("title",), title, optional=True),
}
_QUERIES = {
    "id": Column(("_id", "id", *(name for name in qrels.QUERY_IDS if name != "query")), identity),
    "text": Column(("text", "query", "question"), text_or_nothing),
}
_RANKED = {
    "query": Column(qrels.QUERY_IDS, identity),
    "documents": Column(("corpus-ids", "corpus_ids", "doc_ids", "docids"), list_of(identity, "ids")),
}


def read_retrieval(folder: Path, options: ReadOptions) -> FolderTask:
    """The task of a folder with a corpus.

    Raises:
        UserError: a file is missing, or holds bad rows, ids that are not unique or judgments of none that is there.
    """
    corpus_path, queries_path = find_file(folder, "corpus"), find_file(folder, "queries")
    qrels_path = find_file(folder, "qrels", qrels.SUFFIXES)
    if corpus_path is None or queries_path is None or qrels_path is None:
        paths = {"corpus": corpus_path, "queries": queries_path, "qrels": qrels_path}
        missing = [stem for stem, path in paths.items() if path is None]
        raise UserError(f"{folder}: expected files corpus, queries and qrels, {missing} are missing")
    corpus = _unique(read_task_file(corpus_path, _CORPUS, options.faults), options)
    if len(corpus) == 1:
        check_names(column_names(corpus_path), corpus_path)
        raise UserError(f"{corpus_path}: expected the columns ['_id', 'text'], ['text'] are missing")
    corpus.setdefault("text", [""] * len(corpus["id"]))
    queries = _with_text(
        _unique(read_task_file(queries_path, _QUERIES, options.faults), options), queries_path, options
    )
    relevant = qrels.read_qrels(qrels_path, options.faults, options.say)
    relevant = _known(relevant, queries["id"], corpus["id"], qrels_path, options)
    answered = {q: docs for q, docs in relevant.items() if any(gain > 0 for gain in docs.values())}
    if not answered:
        raise UserError(f"{qrels_path}: expected at least one score above 0, got none")
    if unanswered := len(relevant) - len(answered):
        options.say(f"{qrels_path}: left out {unanswered} queries that have no right answer")
    candidates = _candidates(folder, corpus["id"], answered, options)
    kind = "reranking" if candidates else "retrieval"
    return FolderTask(folder.name, kind, {"corpus": corpus, "queries": queries}, answered, candidates)


def _unique(table: TaskFile, options: ReadOptions) -> dict[str, list[Any]]:
    """The columns, each id once; a row that is there again in whole counts once."""
    rows = list(zip(*table.columns.values(), strict=True))
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        earlier = first.setdefault(row[0], place)
        if earlier != place and rows[earlier] != row:
            options.faults.report(
                f"{table.where(place, 'id')}: expected unique ids, got {shown(row[0])} here and with another text in "
                f"row {table.places[earlier][0]}: rename one",
                "id of another row",
            )
    if again := len(rows) - len(first):
        options.say(f"{table.path}: {again} rows have the id of an earlier one: left out")
    return {name: [values[i] for i in first.values()] for name, values in table.columns.items()}


def _with_text(queries: dict[str, list[Any]], path: Path, options: ReadOptions) -> dict[str, list[Any]]:
    having = [i for i, query in enumerate(queries["text"]) if query.strip()]
    if empty := len(queries["text"]) - len(having):
        options.say(f"{path}: left out {empty} queries without text")
    if not having:
        raise UserError(f"{path}: expected queries with text, got none")
    return {name: [values[i] for i in having] for name, values in queries.items()}


def _known(
    relevant: dict[str, dict[str, int]],
    queries: list[str],
    corpus: list[str],
    path: Path,
    options: ReadOptions,
) -> dict[str, dict[str, int]]:
    """The judgments of queries and documents that are there."""
    known_queries, known_documents = set(queries), set(corpus)
    missing_queries = [query for query in relevant if query not in known_queries]
    found = {
        query: {document: gain for document, gain in documents.items() if document in known_documents}
        for query, documents in relevant.items()
        if query in known_queries
    }
    missing_documents = {d for q in found for d in relevant[q]} - known_documents
    found = {query: documents for query, documents in found.items() if documents}
    for table, missing in (("queries", missing_queries), ("corpus", sorted(missing_documents))):
        if missing and not found:
            raise UserError(
                f"{path}: expected ids that are in {table}, got {shown(missing[0])} and {len(missing) - 1} more that are "
                f"not: drop these rows or add them to {table}"
            )
        if missing:
            options.say(
                f"{path}: left out the judgments of {len(missing)} ids that are not in {table}: {quoted(missing[:3])}"
            )
    return found


def _candidates(
    folder: Path, corpus: list[str], relevant: dict[str, dict[str, int]], options: ReadOptions
) -> dict[str, list[str]] | None:
    path = find_file(folder, "top_ranked")
    if path is None:
        return None
    table = read_task_file(path, _RANKED, options.faults)
    candidates = dict(zip(table.columns["query"], table.columns["documents"], strict=True))
    _require_known(path, (d for ids in candidates.values() for d in ids), set(corpus))
    if lacking := [query for query in relevant if query not in candidates]:
        raise UserError(f"{path}: expected candidates for every query of qrels, {shown(lacking[0])} has none")
    return candidates


def _require_known(path: Path, used: Iterable[str], known: set[str]) -> None:
    if dangling := sorted(set(used) - known):
        raise UserError(
            f"{path}: expected ids that are in corpus, got {shown(dangling[0])} and {len(dangling) - 1} more that are not: "
            f"drop these rows or add them to corpus"
        )
