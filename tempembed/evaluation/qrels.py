"""Which documents answer which queries: qrels with a header, without one, or as TREC has them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tempembed.data.bad_rows import BadRow, Faults
from tempembed.data.bounds import text_lines
from tempembed.data.records import DELIMITERS, check_utf8_file, kind_of
from tempembed.evaluation.cells import gain, identity
from tempembed.evaluation.task_file import Column, place, read_task_file
from tempembed.system.errors import UserError
from tempembed.system.untrusted import require_file

SUFFIXES = (".txt", ".qrels", ".trec")
"""Endings of files whose cells are separated by white space."""
QUERY_IDS = ("query-id", "query_id", "queryid", "query", "qid", "q_id", "topic", "topic_id", "topic-id")
DOCUMENT_IDS = (
    "corpus-id", "corpus_id", "corpusid", "doc-id", "doc_id", "docid", "docno", "document-id", "document_id", "documentid",
    "did", "pid", "passage-id", "passage_id",
)  # fmt: skip
_SCORES = ("score", "relevance", "rel", "grade", "gain", "label", "judgment", "judgement", "relevance_score")
_COLUMNS = {
    "query": Column(QUERY_IDS, identity),
    "document": Column(DOCUMENT_IDS, identity),
    "gain": Column(_SCORES, gain),
}


class _Judgment(NamedTuple):
    query: str
    document: str
    gain: int
    row: int
    line: int


def read_qrels(path: Path, faults: Faults, say: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """Query id to document id to gain.

    A pair that is judged twice with one grade counts once. With two grades the first stays, if bad rows are skipped.

    Raises:
        UserError: no such file, a bad row, or a pair with two grades.
    """
    relevant: dict[str, dict[str, int]] = {}
    first: dict[tuple[str, str], _Judgment] = {}
    repeated = 0
    for judgment in _judgments(path, faults):
        earlier = first.setdefault((judgment.query, judgment.document), judgment)
        if earlier is judgment:
            relevant.setdefault(judgment.query, {})[judgment.document] = judgment.gain
        elif earlier.gain == judgment.gain:
            repeated += 1
        else:
            faults.report(
                f"{place(path, judgment.row, judgment.line, 'score')}: expected one grade for query "
                f"{judgment.query!r} and document {judgment.document!r}, got {judgment.gain} here and "
                f"{earlier.gain} in row {earlier.row}" + (f" (line {earlier.line})" if earlier.line else "")
                + ": keep one of the two rows",
                "pair with two grades",
            )  # fmt: skip
    if repeated:
        say(f"{path}: {repeated} rows judge a pair again, with the same grade: counted once")
    return relevant


def _judgments(path: Path, faults: Faults) -> Iterator[_Judgment]:
    kind = kind_of(require_file(path))
    if kind not in (*DELIMITERS, *SUFFIXES) or _has_header(path, kind):
        table = read_task_file(path, _COLUMNS, faults)
        rows = zip(*(table.columns[name] for name in _COLUMNS), table.places, strict=True)
        for query, document, score, (row, line) in rows:
            yield _Judgment(query, document, score, row, line)
        return
    yield from _line_judgments(path, DELIMITERS.get(kind), faults)


def _has_header(path: Path, kind: str) -> bool:
    """Whether a file of CSV or TSV names its columns."""
    if kind not in DELIMITERS:
        return False
    check_utf8_file(path)
    with text_lines(path, kept=False) as lines:
        header = next((line for line in lines if line.strip()), "")
    cells = _split(header, DELIMITERS[kind])
    return _is_header(cells) or len(cells) not in (3, 4)


def _is_header(cells: list[str]) -> bool:
    names = [cell.strip().strip('"').lower() for cell in cells]
    return any(name in QUERY_IDS or name in DOCUMENT_IDS for name in names) and not _is_whole(cells[-1])


def _is_whole(cell: Any) -> bool:
    try:
        gain(cell)
        return True
    except BadRow:
        return False


def _split(line: str, delimiter: str | None) -> list[str]:
    """The three or four cells of a line, by its separator or else by white space."""
    cells = line.rstrip("\r\n").split(delimiter)
    return cells if delimiter and len(cells) in (3, 4) else line.split() if delimiter != "," else cells


def _line_judgments(path: Path, delimiter: str | None, faults: Faults) -> Iterator[_Judgment]:
    """Lines of query, document, grade; or TREC's: query, iteration, document, grade."""
    check_utf8_file(path)
    row, order = 0, None
    with text_lines(path, kept=True) as lines:
        for line, content in enumerate(lines, start=1):
            cells = _split(content, delimiter)
            if not content.strip():
                continue
            if row == 0 and order is None and _is_header(cells):
                order = _order([cell.strip().lower() for cell in cells], path)
                continue
            row += 1
            try:
                yield _judgment(cells, order, row, line)
            except BadRow as bad:
                message = bad.message
                faults.report(f"{place(path, row, line, bad.column)}: {message}", bad.reason, bad)
    if not row:
        raise UserError(f"{path}: expected rows, got none")


def _order(names: list[str], path: Path) -> list[int]:
    """Places of query, document and grade in a header."""
    found = [
        next((names.index(name) for name in column.spellings if name in names), -1)
        for column in _COLUMNS.values()
    ]
    if -1 in found:
        expected = [column.spellings[0] for column in _COLUMNS.values()]
        missing = [name for name, where in zip(expected, found, strict=True) if where < 0]
        raise UserError(f"{path}: expected the columns {expected}, {missing} are missing from {names}")
    return found


def _judgment(cells: list[str], order: list[int] | None, row: int, line: int) -> _Judgment:
    if len(cells) not in (3, 4) or (order and len(cells) <= max(order)):
        expected = "query, document and grade, or TREC's query, iteration, document and grade"
        raise BadRow("wrong number of cells", expected, f"{len(cells)} cells", "mend the line")
    where = order or [0, len(cells) - 2, len(cells) - 1]
    query, document, score = (cells[i] for i in where)
    try:
        return _Judgment(identity(query), identity(document), gain(score), row, line)
    except BadRow as bad:
        bad.column = "score" if not _is_whole(score) else "query-id" if not query else "corpus-id"
        raise
