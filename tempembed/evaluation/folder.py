"""A folder of local files in mteb's layout: which kind of task it is, and its data, checked."""

from collections.abc import Callable, Collection
from pathlib import Path

from tempembed.data.bad_rows import Faults
from tempembed.data.records import SUFFIXES
from tempembed.evaluation.cells import binary, label, list_of, number, text
from tempembed.evaluation.folder_retrieval import read_retrieval
from tempembed.evaluation.folder_task import FolderTask, ReadOptions, find_file
from tempembed.evaluation.task_file import Column, column_names, read_task_file
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_folder, require_file
from tempembed.system.wording import counts, quoted

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
    options = ReadOptions(Faults(skip=skip_bad_rows), say)
    found = [task] if (task := _read_one(folder, options)) else [
        task for sub in sorted(folder.iterdir()) if sub.is_dir() and (task := _read_one(sub, options))
    ]  # fmt: skip
    if not found:
        names = sorted(entry.name for entry in folder.iterdir())[:8]
        raise UserError(f"--task-folder {folder}: expected {LAYOUT}; got {names}")
    if reasons := options.faults.reasons:
        say(
            f"{folder}: left out {reasons.total()} bad rows: {counts(reasons)}; the first: {options.faults.first}"
        )
    return found


def _read_one(folder: Path, options: ReadOptions) -> FolderTask | None:
    if find_file(folder, "corpus"):
        return read_retrieval(folder, options)
    if not (path := find_file(folder, "test")):
        return None
    names = column_names(require_file(path))
    if not names:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got no rows")
    kind = next((kind for kind, shape in _SHAPES.items() if _has(shape, names)), None)
    if kind is None:
        raise UserError(f"{path}: expected the columns of {LAYOUT}; got {quoted(names)}")
    if kind == "clustering" and _holds_lists(path, "sentences"):
        return _sets(folder, path, options)
    paths = {"test": path}
    if kind == "classification":
        train = find_file(folder, "train")
        if train is None:
            raise UserError(f"{folder}: expected a file train beside {path.name} to learn the labels from")
        paths["train"] = train
    read = {
        name: read_task_file(where, _SHAPES[kind], options.faults).columns for name, where in paths.items()
    }
    if kind == "classification" and len(set(read["train"]["label"])) < 2:
        raise UserError(
            f"{paths['train']}: expected at least 2 labels, got {read['train']['label'][0][:60]} alone"
        )
    return FolderTask(folder.name, kind, read, {})


def _has(shape: dict[str, Column], names: Collection[str]) -> bool:
    return all(any(name in names for name in column.spellings) for column in shape.values())


def _holds_lists(path: Path, column: str) -> bool:
    found = read_task_file(
        path, {column: Column((column,), lambda value: isinstance(value, list))}, Faults(skip=True)
    )
    return any(found.columns[column])


def _sets(folder: Path, path: Path, options: ReadOptions) -> FolderTask:
    """Each row a set of sentences with their labels, mteb's older layout."""
    table = read_task_file(path, _SETS, options.faults)
    sentences, labels = table.columns.values()
    good = [row for row in range(len(labels)) if len(sentences[row]) == len(labels[row]) >= 2]
    for row in sorted(set(range(len(labels))) - set(good)):
        options.faults.report(
            f"{table.where(row, 'labels')}: expected as many labels as sentences, at least 2, got {str(labels[row])[:60]}",
            "other number of labels than of sentences",
        )
    if not good:
        raise UserError(f"{path}: expected sets of sentences with their labels, got none that is good")
    columns = {name: [values[row] for row in good] for name, values in table.columns.items()}
    return FolderTask(folder.name, "clustering_sets", {"test": columns}, {})
