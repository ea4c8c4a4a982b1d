"""A folder of local files in mteb's layout: which kind of task it is, and its data, checked."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempembed.data.bad_rows import Faults
from tempembed.data.bounds import is_packed
from tempembed.data.records import SUFFIXES, kind_of
from tempembed.data.splits import TEST, split_of
from tempembed.evaluation import qrels
from tempembed.evaluation.tables import (
    Column,
    Table,
    binary,
    check_names,
    column_names,
    identity,
    label,
    list_of,
    number,
    read_table,
    text,
    text_or_nothing,
    title,
)
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_folder, require_file, require_inside
from tempembed.system.wording import counts, quoted, shown

LAYOUT = (
    "corpus, queries and qrels (columns _id, text; query-id, corpus-id, score), or a file test with the columns "
    "sentences, labels (clustering), sentence1, sentence2, score (STS), sentence1, sentence2, labels (pair "
    "classification), or files train and test with the columns text, label (classification); each as "
    + ", ".join(SUFFIXES)
)
_TEXTS = {name: Column((name,), text) for name in ("sentence1", "sentence2", "text")}
_PAIR = {"sentence1": _TEXTS["sentence1"], "sentence2": _TEXTS["sentence2"]}
_SHAPES: dict[str, dict[str, Column]] = {
    "clustering": {"sentences": Column(("sentences",), text), "labels": Column(("labels",), label)},
    "sts": {**_PAIR, "score": Column(("score",), number)},
    "pair_classification": {**_PAIR, "labels": Column(("labels", "label"), binary)},
    "classification": {"text": _TEXTS["text"], "label": Column(("label",), label)},
}
_SETS = {
    "sentences": Column(("sentences",), list_of(text, "texts")),
    "labels": Column(("labels",), list_of(label, "labels")),
}
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


@dataclass(frozen=True)
class FolderTask:
    """A task of a folder."""

    name: str
    kind: str
    """retrieval, reranking, clustering, clustering_sets, sts, pair_classification or classification."""
    columns: dict[str, dict[str, list[Any]]]
    """Table (corpus, queries, train, test) to columns. Ids and labels are text; scores are numbers."""
    relevant: dict[str, dict[str, int]]
    """Query id to document id to gain, of retrieval."""
    candidates: dict[str, list[str]] | None = None
    """Query id to document ids, of reranking."""


@dataclass(frozen=True)
class _Reading:
    faults: Faults
    say: Callable[[str], None]


def read_folder(
    folder: Path, *, skip_bad_rows: bool = False, say: Callable[[str], None] = lambda _: None
) -> list[FolderTask]:
    """The task of a folder, or those of its subfolders.

    As mteb reads BEIR's folders: a document may be empty, its title stands before its text, and queries without a right
    answer are left out. Judgments of queries and documents that are not there, and queries without text, are left out
    and said.

    Args:
        folder: of files in mteb's layout.
        skip_bad_rows: leave bad rows out and count them, instead of raising.
        say: takes a line for what is left out.

    Raises:
        UserError: no such layout, a file that cannot be read or is a link out of the folder, missing columns, bad rows,
            ids that are not unique. Names the file and the first fault.
    """
    if not is_folder(folder):
        raise UserError(
            f"--task-folder {folder}: expected a folder with {LAYOUT}; there is none of that name"
        )
    reading = _Reading(Faults(skip=skip_bad_rows), say)
    found = [task] if (task := _read_one(folder, reading)) else [
        task for sub in sorted(folder.iterdir()) if sub.is_dir() and (task := _read_one(sub, reading))
    ]  # fmt: skip
    if not found:
        names = sorted(entry.name for entry in folder.iterdir())[:8]
        raise UserError(f"--task-folder {folder}: expected {LAYOUT}; got {names}")
    if reasons := reading.faults.reasons:
        say(
            f"{folder}: left out {reasons.total()} bad rows: {counts(reasons)}; the first: {reading.faults.first}"
        )
    return found


def _read_one(folder: Path, reading: _Reading) -> FolderTask | None:
    if _find(folder, "corpus"):
        return _retrieval(folder, reading)
    if not (path := _find(folder, "test")):
        return None
    names = column_names(require_file(path))
    if not names:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got no rows")
    kind = next((kind for kind, shape in _SHAPES.items() if _has(shape, names)), None)
    if kind is None:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got {quoted(names)}")
    if kind == "clustering" and _holds_lists(path, "sentences"):
        return _sets(folder, path, reading)
    paths = {"test": path}
    if kind == "classification":
        train = _find(folder, "train")
        if train is None:
            raise UserError(f"{folder}: expected a file train beside {path.name} to learn the labels from")
        paths["train"] = train
    read = {name: read_table(where, _SHAPES[kind], reading.faults).columns for name, where in paths.items()}
    if kind == "classification" and len(set(read["train"]["label"])) < 2:
        raise UserError(
            f"{paths['train']}: expected at least 2 labels, got {read['train']['label'][0][:60]} alone"
        )
    return FolderTask(folder.name, kind, read, {})


def _has(shape: dict[str, Column], names: Collection[str]) -> bool:
    return all(any(name in names for name in column.spellings) for column in shape.values())


def _holds_lists(path: Path, column: str) -> bool:
    found = read_table(
        path, {column: Column((column,), lambda value: isinstance(value, list))}, Faults(skip=True)
    )
    return any(found.columns[column])


def _find(folder: Path, stem: str, more: tuple[str, ...] = ()) -> Path | None:
    """`stem.suffix`, or the only such file in `stem/` (BEIR's qrels/test.tsv: of several the one named test)."""

    def data_files(place: Path) -> list[Path]:
        return sorted(
            path for path in place.iterdir() if path.is_file() and kind_of(path) in (*SUFFIXES, *more)
        )

    found = [path for path in data_files(folder) if _stem(path) == stem]
    if not found and (folder / stem).is_dir():
        found = data_files(folder / stem)
        found = [path for path in found if _stem(path) == "test"] or found
    if not found and more:  # test.qrels, run.trec, qrels.dev.small.tsv
        named = [path for path in data_files(folder) if path.name.lower().startswith(stem)]
        found = named or [path for path in data_files(folder) if kind_of(path) in (".qrels", ".trec")]
        found = [path for path in found if split_of(path.name) == TEST] or found
    if len(found) > 1:
        raise UserError(f"{folder}: expected one file {stem}, got {[path.name for path in found]}")
    require_inside(folder, found)
    return found[0] if found else None


def _stem(path: Path) -> str:
    return Path(path.stem).stem if is_packed(path) else path.stem


def _sets(folder: Path, path: Path, reading: _Reading) -> FolderTask:
    """Each row a set of sentences with their labels, mteb's older layout."""
    table = read_table(path, _SETS, reading.faults)
    sentences, labels = table.columns.values()
    good = [row for row in range(len(labels)) if len(sentences[row]) == len(labels[row]) >= 2]
    for row in sorted(set(range(len(labels))) - set(good)):
        reading.faults.report(
            f"{table.where(row, 'labels')}: expected as many labels as sentences, at least 2, got {str(labels[row])[:60]}",
            "other number of labels than of sentences",
        )
    if not good:
        raise UserError(f"{path}: expected sets of sentences with their labels, got none that is good")
    columns = {name: [values[row] for row in good] for name, values in table.columns.items()}
    return FolderTask(folder.name, "clustering_sets", {"test": columns}, {})


def _retrieval(folder: Path, reading: _Reading) -> FolderTask:
    corpus_path, queries_path = _find(folder, "corpus"), _find(folder, "queries")
    qrels_path = _find(folder, "qrels", qrels.SUFFIXES)
    if corpus_path is None or queries_path is None or qrels_path is None:
        paths = {"corpus": corpus_path, "queries": queries_path, "qrels": qrels_path}
        missing = [stem for stem, path in paths.items() if path is None]
        raise UserError(f"{folder}: expected files corpus, queries and qrels, {missing} are missing")
    corpus = _unique(read_table(corpus_path, _CORPUS, reading.faults), reading)
    if len(corpus) == 1:
        check_names(column_names(corpus_path), corpus_path)
        raise UserError(f"{corpus_path}: expected the columns ['_id', 'text'], ['text'] are missing")
    corpus.setdefault("text", [""] * len(corpus["id"]))
    queries = _with_text(
        _unique(read_table(queries_path, _QUERIES, reading.faults), reading), queries_path, reading
    )
    relevant = qrels.read_qrels(qrels_path, reading.faults, reading.say)
    relevant = _known(relevant, queries["id"], corpus["id"], qrels_path, reading)
    answered = {q: docs for q, docs in relevant.items() if any(gain > 0 for gain in docs.values())}
    if not answered:
        raise UserError(f"{qrels_path}: expected at least one score above 0, got none")
    if unanswered := len(relevant) - len(answered):
        reading.say(f"{qrels_path}: left out {unanswered} queries that have no right answer")
    candidates = _candidates(folder, corpus["id"], answered, reading)
    kind = "reranking" if candidates else "retrieval"
    return FolderTask(folder.name, kind, {"corpus": corpus, "queries": queries}, answered, candidates)


def _unique(table: Table, reading: _Reading) -> dict[str, list[Any]]:
    """The columns, each id once; a row that is there again in whole counts once."""
    rows = list(zip(*table.columns.values(), strict=True))
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        earlier = first.setdefault(row[0], place)
        if earlier != place and rows[earlier] != row:
            reading.faults.report(
                f"{table.where(place, 'id')}: expected unique ids, got {shown(row[0])} here and with another text in "
                f"row {table.places[earlier][0]}: rename one",
                "id of another row",
            )
    if again := len(rows) - len(first):
        reading.say(f"{table.path}: {again} rows have the id of an earlier one: left out")
    return {name: [values[i] for i in first.values()] for name, values in table.columns.items()}


def _with_text(queries: dict[str, list[Any]], path: Path, reading: _Reading) -> dict[str, list[Any]]:
    having = [i for i, query in enumerate(queries["text"]) if query.strip()]
    if empty := len(queries["text"]) - len(having):
        reading.say(f"{path}: left out {empty} queries without text")
    if not having:
        raise UserError(f"{path}: expected queries with text, got none")
    return {name: [values[i] for i in having] for name, values in queries.items()}


def _known(
    relevant: dict[str, dict[str, int]], queries: list[str], corpus: list[str], path: Path, reading: _Reading
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
            reading.say(
                f"{path}: left out the judgments of {len(missing)} ids that are not in {table}: {quoted(missing[:3])}"
            )
    return found


def _candidates(
    folder: Path, corpus: list[str], relevant: dict[str, dict[str, int]], reading: _Reading
) -> dict[str, list[str]] | None:
    path = _find(folder, "top_ranked")
    if path is None:
        return None
    table = read_table(path, _RANKED, reading.faults)
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
