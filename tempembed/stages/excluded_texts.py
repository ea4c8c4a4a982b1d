"""Texts of test sets, to be cut out of what is trained on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tempembed.data.pairs import read_pairs
from tempembed.evaluation.folder import read_folder
from tempembed.system.cache import INSTALLED_CODE
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_folder

TEXTS = ("text", "sentences", "sentence1", "sentence2")
"""Columns of a task folder that hold texts."""


def read_test_texts(source: str, say: Callable[[str], None], *, skip_bad_rows: bool = False) -> list[str]:
    """Queries and documents of a test set, each once: installed-code, pairs (see `read_pairs`), or a folder in mteb's layout.

    Raises:
        UserError: none of these.
    """
    if source == INSTALLED_CODE:
        import pyarrow.parquet as pq

        from tempembed.data.installed_code import installed_code

        test = pq.read_table(installed_code(progress=say).test, columns=["query", "document"])
        return [text for column in test.columns for text in column.to_pylist()]
    if is_folder(Path(source)):
        try:
            tasks = read_folder(Path(source), skip_bad_rows=skip_bad_rows, say=say)
        except UserError:  # a folder of pairs
            tasks = []
        found = [
            columns.get(name, []) for task in tasks for columns in task.columns.values() for name in TEXTS
        ]
        if any(found):
            return list(dict.fromkeys(text for values in found for text in _flat(values)))
    try:
        pairs = read_pairs(source, skip_bad_rows=skip_bad_rows, split="test", say=say)
    except UserError as error:
        raise UserError(f"--exclude {source}: expected a test set: {error}") from error
    return list(dict.fromkeys([*pairs.queries, *pairs.documents]))


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, str):
        yield value
