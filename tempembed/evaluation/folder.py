"""A folder of local files in mteb's layout: which kind of task it is, and its data, checked."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from tempembed.data.bounds import LINE_BYTES, lines, open_parquet, parquet_batches
from tempembed.data.faults import BadRow
from tempembed.data.files import BOM, json_object
from tempembed.data.rows import CHUNK_ROWS
from tempembed.data.wording import first_line, quoted, shown
from tempembed.errors import UserError
from tempembed.untrusted import is_folder, require_file, require_inside

SUFFIXES = (".jsonl", ".parquet", ".tsv", ".csv")
LAYOUT = (
    "corpus, queries and qrels (columns _id, text; query-id, corpus-id, score), or a file test with the columns "
    "sentences, labels (clustering), sentence1, sentence2, score (STS), sentence1, sentence2, labels (pair "
    "classification), or files train and test with the columns text, label (classification); each as "
    + ", ".join(SUFFIXES)
)


Table = dict[str, list[Any]]


@dataclass(frozen=True)
class FolderTask:
    """A task of a folder."""

    name: str
    kind: str
    """retrieval, reranking, clustering, clustering_sets, sts, pair_classification or classification."""
    columns: dict[str, Table]
    """Table (corpus, queries, train, test) to columns."""
    relevant: dict[str, dict[str, int]]
    """Query id to document id to gain, of retrieval."""
    candidates: dict[str, list[str]] | None = None
    """Query id to document ids, of reranking."""


def read_folder(folder: Path) -> list[FolderTask]:
    """The task of a folder, or those of its subfolders.

    Raises:
        UserError: no such layout, a file that cannot be read or is a link out of the folder, missing columns, empty
            texts, ids that are dangling or not unique. Names the file and the first fault.
    """
    if not is_folder(folder):
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
    table = _table(path)
    shapes = {
        "clustering": {"sentences": "text", "labels": "label"},
        "sts": {"sentence1": "text", "sentence2": "text", "score": "number"},
        "pair_classification": {"sentence1": "text", "sentence2": "text", "labels": "binary"},
        "classification": {"text": "text", "label": "label"},
    }
    kind = next((kind for kind, shape in shapes.items() if set(shape) <= set(table)), None)
    if kind is None:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got {quoted(table)}")
    tables = {"test": (path, table)}
    if kind == "classification":
        train = _find(folder, "train")
        if train is None:
            raise UserError(f"{folder}: expected a file train beside {path.name} to learn the labels from")
        tables["train"] = train, _table(train)
    if kind == "clustering" and any(isinstance(value, list) for value in table["sentences"]):
        return _sets(folder, path, table)
    read = {name: _columns(*where, shapes[kind]) for name, where in tables.items()}
    if kind == "classification" and len(set(read["train"]["label"])) < 2:
        raise UserError(
            f"{tables['train'][0]}: expected at least 2 labels, got {shown(read['train']['label'][0])} alone"
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
    require_inside(folder, found)
    return found[0] if found else None


def _table(path: Path) -> Table:
    """Column name to values; what a line of JSON leaves out is None."""
    require_file(path)
    if path.suffix == ".jsonl":
        return _json_table(path)
    if path.suffix == ".parquet":
        with open_parquet(path) as file:
            names = _distinct(file.schema_arrow.names, path)
            batches = list(parquet_batches(path, file, names, CHUNK_ROWS, kept=True))
        return {name: [v for batch in batches for v in _values(batch[name], path)] for name in names}
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=LINE_BYTES),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ","),
        )
        return {name: table[name].to_pylist() for name in _distinct(table.column_names, path)}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: expected a {path.suffix[1:]} file, and could not read it ({first_line(error)})"
        ) from error


def _json_table(path: Path) -> Table:
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, str(path)), start=1):
            line = line.removeprefix(BOM) if number == 1 else line
            if line.strip():
                try:
                    rows.append(json_object(line))
                except BadRow as bad:
                    raise UserError(f"{path}, line {number}: {bad.message}") from bad
    return {
        name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)
    }


def _distinct(names: list[str], path: Path) -> list[str]:
    if repeated := [name for name, num in Counter(names).items() if num > 1]:
        raise UserError(
            f"{path}: expected each column once, got {quoted(repeated)} more than once; rename one"
        )
    return names


def _values(column: pa.ChunkedArray, path: Path) -> list[Any]:
    try:
        return column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:  # invalid UTF-8; years beyond 9999
        raise UserError(f"{path}: expected values that can be read ({first_line(error)})") from error


def _columns(path: Path, table: Table, shape: dict[str, str]) -> Table:
    """Columns of a table, each checked to be of its kind."""
    if not any(table.values()):
        raise UserError(f"{path}: expected rows, got none")
    if missing := sorted(set(shape) - set(table)):
        raise UserError(
            f"{path}: expected the columns {sorted(shape)}, {missing} are missing from {quoted(table)}"
        )
    for name, kind in shape.items():
        expected, good = _KINDS[kind]
        for row, value in enumerate(table[name], 1):
            if not good(value):
                raise UserError(
                    f"{path}: row {row}, column {name}: expected {expected}, got {str(value)[:60]!r}"
                )
    return {name: table[name] for name in shape}


def _is_string(value: Any) -> bool:
    """Text that can be written as UTF-8: JSON may hold halves of characters."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))


def _is_text(value: Any) -> bool:
    return _is_string(value) and bool(value.strip())


def _is_id(value: Any) -> bool:
    return isinstance(value, int) or (_is_string(value) and value != "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and -1e15 <= value <= 1e15  # false for NaN


def _is_label(value: Any) -> bool:
    return value is not None and (
        _is_string(value) if isinstance(value, str) else not isinstance(value, list | dict)
    )


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("text", _is_text),
    "text or nothing": ("text", _is_string),
    "texts": ("a list of texts", lambda value: isinstance(value, list) and all(map(_is_text, value))),
    "id": ("an id", _is_id),
    "ids": ("a list of ids", lambda value: isinstance(value, list) and all(map(_is_id, value))),
    "number": ("a number", _is_number),
    "gain": ("a whole number", lambda value: _is_number(value) and float(value).is_integer()),
    "binary": ("0 or 1", lambda value: isinstance(value, int | float) and value in (0, 1)),
    "label": ("a label", _is_label),
    "labels": ("a list of labels", lambda value: isinstance(value, list) and all(map(_is_label, value))),
    "title": ("a title", lambda value: value is None or _is_label(value)),
}  # fmt: skip


def _sets(folder: Path, path: Path, table: Table) -> FolderTask:
    """Each row a set of sentences with their labels, mteb's older layout."""
    columns = _columns(path, table, {"sentences": "texts", "labels": "labels"})
    for row, (sentences, labels) in enumerate(zip(*columns.values(), strict=True), 1):
        if len(sentences) != len(labels) or len(sentences) < 2:
            raise UserError(
                f"{path}: row {row}: expected as many labels as sentences, at least 2, got {str(labels)[:60]}"
            )
    return FolderTask(folder.name, "clustering_sets", {"test": columns}, {})


def _retrieval(folder: Path) -> FolderTask:
    paths = {stem: _find(folder, stem) for stem in ("corpus", "queries", "qrels")}
    if missing := [stem for stem, path in paths.items() if path is None]:
        raise UserError(f"{folder}: expected files corpus, queries and qrels, {missing} are missing")
    read: dict[str, Table] = {}
    for stem in ("corpus", "queries"):
        path = paths[stem]
        assert path is not None
        table = _table(path)
        key = "_id" if "_id" in table else "id"
        titled = {"title": "title"} if stem == "corpus" and "title" in table else {}
        columns = _columns(path, table, {key: "id", "text": "text or nothing", **titled})
        ids = [str(value) for value in columns[key]]
        if repeated := [value for value, num in Counter(ids).items() if num > 1]:
            raise UserError(
                f"{path}: expected unique ids, got {shown(repeated[0])} and {len(repeated) - 1} more twice"
            )
        titles = ["" if title is None else str(title) for title in columns.get("title", ())]
        texts = columns["text"]
        for row, text in enumerate(texts, 1):
            if not (text.strip() or (titles and titles[row - 1])):
                raise UserError(f"{path}: row {row}, column text: expected text, got {str(text)[:60]!r}")
        read[stem] = {"id": ids, "text": texts}
        if titles:
            read[stem]["title"] = titles
    qrels = paths["qrels"]
    assert qrels is not None
    rows = _columns(qrels, _table(qrels), {"query-id": "id", "corpus-id": "id", "score": "gain"})
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
        columns = _columns(ranked, _table(ranked), {"query-id": "id", "corpus-ids": "ids"})
        candidates = {str(q): [str(d) for d in ids] for q, ids in zip(*columns.values(), strict=True)}
        _check_ids(ranked, "corpus", [d for ids in candidates.values() for d in ids], read["corpus"]["id"])
        if lacking := [query for query in relevant if query not in candidates]:
            raise UserError(
                f"{ranked}: expected candidates for every query of qrels, {shown(lacking[0])} has none"
            )
    return FolderTask(folder.name, "reranking" if candidates else "retrieval", read, relevant, candidates)


def _check_ids(path: Path, table: str, used: Any, known: Sequence[str]) -> None:
    if dangling := sorted(set(used) - set(known)):
        raise UserError(
            f"{path}: expected ids that are in {table}, got {shown(dangling[0])} and {len(dangling) - 1} more that are not: "
            f"drop these rows or add them to {table}"
        )
