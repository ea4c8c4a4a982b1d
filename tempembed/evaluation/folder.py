"""A folder of local files in mteb's layout: which kind of task it is, and its data, checked."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from tempembed.errors import UserError

SUFFIXES = (".jsonl", ".parquet", ".tsv", ".csv")
LAYOUT = (
    "corpus, queries and qrels (columns _id, text; query-id, corpus-id, score), or a file test with the columns "
    "sentences, labels (clustering), sentence1, sentence2, score (STS), sentence1, sentence2, labels (pair "
    "classification), or files train and test with the columns text, label (classification); each as "
    + ", ".join(SUFFIXES)
)


@dataclass(frozen=True)
class FolderTask:
    """A task of a folder."""

    name: str
    kind: str
    """retrieval, reranking, clustering, clustering_sets, sts, pair_classification or classification."""
    columns: dict[str, dict[str, list[Any]]]
    """Table (corpus, queries, train, test) to columns."""
    relevant: dict[str, dict[str, int]]
    """Query id to document id to gain, of retrieval."""
    candidates: dict[str, list[str]] | None = None
    """Query id to document ids, of reranking."""


def read_folder(folder: Path) -> list[FolderTask]:
    """The task of a folder, or those of its subfolders.

    Raises:
        UserError: no such layout, a file that cannot be read, missing columns, empty texts, ids that are dangling or
            not unique. Names the file and the first fault.
    """
    if not folder.is_dir():
        raise UserError(
            f"--task-folder {folder}: expected a folder with {LAYOUT}; there is none of that name"
        )
    if task := _read_one(folder):
        return [task]
    inner = [task for sub in sorted(folder.iterdir()) if sub.is_dir() and (task := _read_one(sub))]
    if not inner:
        names = sorted(entry.name for entry in folder.iterdir())[:8]
        raise UserError(f"--task-folder {folder}: expected {LAYOUT}; got {names}")
    return inner


def _read_one(folder: Path) -> FolderTask | None:
    if _find(folder, "corpus"):
        return _retrieval(folder)
    if not (path := _find(folder, "test")):
        return None
    columns = _table(path).column_names
    shapes = {
        "clustering": {"sentences": "text", "labels": "value"},
        "sts": {"sentence1": "text", "sentence2": "text", "score": "number"},
        "pair_classification": {"sentence1": "text", "sentence2": "text", "labels": "binary"},
        "classification": {"text": "text", "label": "value"},
    }
    kind = next((kind for kind, shape in shapes.items() if set(shape) <= set(columns)), None)
    if kind is None:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got {columns}")
    tables = {"test": path}
    if kind == "classification":
        train = _find(folder, "train")
        if train is None:
            raise UserError(f"{folder}: expected a file train beside {path.name} to learn the labels from")
        tables["train"] = train
    if kind == "clustering" and pa.types.is_list(_table(path).schema.field("sentences").type):
        return _sets(folder, path)
    read = {name: _columns(where, shapes[kind]) for name, where in tables.items()}
    if kind == "classification" and len(set(read["train"]["label"])) < 2:
        raise UserError(
            f"{tables['train']}: expected at least 2 labels, got {read['train']['label'][0]!r} alone"
        )
    return FolderTask(folder.name, kind, read, {})


def _find(folder: Path, stem: str) -> Path | None:
    """`stem.suffix`, or the only such file in `stem/` (BEIR's qrels/test.tsv: of several the one named test)."""
    found = [folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
    if not found and (folder / stem).is_dir():
        found = sorted(p for p in (folder / stem).iterdir() if p.suffix in SUFFIXES)
        found = [p for p in found if p.stem == "test"] or found
    if len(found) > 1:
        raise UserError(f"{folder}: expected one file {stem}, got {[path.name for path in found]}")
    return found[0] if found else None


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix == ".jsonl":
            return pyarrow.json.read_json(path)
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: expected a {path.suffix[1:]} file, and could not read it ({str(error).splitlines()[0][:200]})"
        ) from error


def _columns(path: Path, shape: dict[str, str]) -> dict[str, list[Any]]:
    """Columns of a table, each checked to be text, a number, 0 or 1, or any value but null."""
    table = _table(path)
    if missing := sorted(set(shape) - set(table.column_names)):
        raise UserError(
            f"{path}: expected the columns {sorted(shape)}, {missing} are missing from {table.column_names}"
        )
    if not len(table):
        raise UserError(f"{path}: expected rows, got none")
    found = {name: table[name].to_pylist() for name in shape}
    for name, kind in shape.items():
        for row, value in enumerate(found[name], 1):
            good = {
                "text": isinstance(value, str) and bool(value.strip()),
                "id": isinstance(value, str | int) and str(value) != "",
                "number": isinstance(value, int | float) and math.isfinite(value),
                "gain": isinstance(value, int | float) and float(value).is_integer(),
                "binary": value in (0, 1),
                "value": value is not None,
            }[kind]
            if not good:
                raise UserError(
                    f"{path}: row {row}, column {name}: expected {_WORDS[kind]}, got {str(value)[:60]!r}"
                )
    return found


_WORDS = {
    "text": "text", "id": "an id", "number": "a number", "gain": "a whole number", "binary": "0 or 1", "value": "a label",
}  # fmt: skip


def _sets(folder: Path, path: Path) -> FolderTask:
    """Each row a set of sentences with their labels, mteb's older layout."""
    columns = _columns(path, {"sentences": "value", "labels": "value"})
    for row, (sentences, labels) in enumerate(zip(*columns.values(), strict=True), 1):
        if not isinstance(labels, list) or len(sentences) != len(labels) or len(sentences) < 2:
            raise UserError(
                f"{path}: row {row}: expected as many labels as sentences, at least 2, got {str(labels)[:60]}"
            )
        if not all(isinstance(s, str) and s.strip() for s in sentences):
            raise UserError(f"{path}: row {row}: expected sentences of text")
    return FolderTask(folder.name, "clustering_sets", {"test": columns}, {})


def _retrieval(folder: Path) -> FolderTask:
    paths = {stem: _find(folder, stem) for stem in ("corpus", "queries", "qrels")}
    if missing := [stem for stem, path in paths.items() if path is None]:
        raise UserError(f"{folder}: expected files corpus, queries and qrels, {missing} are missing")
    read: dict[str, dict[str, list[Any]]] = {}
    for stem in ("corpus", "queries"):
        path = paths[stem]
        assert path is not None
        names = _table(path).column_names
        key = "_id" if "_id" in names else "id"
        columns = _columns(path, {key: "id", "text": "value"})
        ids = [str(value) for value in columns[key]]
        if repeated := [value for value, num in Counter(ids).items() if num > 1]:
            raise UserError(
                f"{path}: expected unique ids, got {repeated[0]!r} and {len(repeated) - 1} more twice"
            )
        titles = _table(path)["title"].to_pylist() if stem == "corpus" and "title" in names else []
        texts = columns["text"]
        for row, text in enumerate(texts, 1):
            if not isinstance(text, str) or not (text.strip() or (titles and titles[row - 1])):
                raise UserError(f"{path}: row {row}, column text: expected text, got {str(text)[:60]!r}")
        read[stem] = {"id": ids, "text": texts}
        if titles:
            read[stem]["title"] = [title or "" for title in titles]
    qrels = paths["qrels"]
    assert qrels is not None
    rows = _columns(qrels, {"query-id": "id", "corpus-id": "id", "score": "gain"})
    relevant: dict[str, dict[str, int]] = {}
    for query, document, gain in zip(*rows.values(), strict=True):
        relevant.setdefault(str(query), {})[str(document)] = int(gain)
    _check_ids(qrels, "queries", relevant, read["queries"]["id"])
    _check_ids(qrels, "corpus", [d for docs in relevant.values() for d in docs], read["corpus"]["id"])
    relevant = {q: docs for q, docs in relevant.items() if any(gain > 0 for gain in docs.values())}
    if not relevant:
        raise UserError(f"{qrels}: expected at least one score above 0, got none")
    candidates = None
    if ranked := _find(folder, "top_ranked"):
        columns = _columns(ranked, {"query-id": "id", "corpus-ids": "value"})
        candidates = {str(q): [str(d) for d in ids] for q, ids in zip(*columns.values(), strict=True)}
        _check_ids(ranked, "corpus", [d for ids in candidates.values() for d in ids], read["corpus"]["id"])
        if lacking := [query for query in relevant if query not in candidates]:
            raise UserError(
                f"{ranked}: expected candidates for every query of qrels, {lacking[0]!r} has none"
            )
    return FolderTask(folder.name, "reranking" if candidates else "retrieval", read, relevant, candidates)


def _check_ids(path: Path, table: str, used: Any, known: Sequence[str]) -> None:
    if dangling := sorted(set(used) - set(known)):
        raise UserError(
            f"{path}: expected ids that are in {table}, got {dangling[0]!r} and {len(dangling) - 1} more that are not: "
            f"drop these rows or add them to {table}"
        )
