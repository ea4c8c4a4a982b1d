"""Pairs of texts, the one form in which all training and test data arrive."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bad_rows import Faults
from tempembed.data.columns import (
    DOCUMENT,
    GROUP,
    HARD_NEGATIVES,
    LABEL,
    QUERY,
    SCHEMA,
    SCORES,
    TEXT,
    is_text,
)
from tempembed.data.files import Reading, read_source
from tempembed.data.judged import judged_pairs
from tempembed.data.kept_rows import filtered, parts, repeated
from tempembed.data.picture_cells import of_pictures
from tempembed.data.rows import ROW
from tempembed.data.split import group_numbers
from tempembed.data.splits import Split
from tempembed.system.errors import UserError
from tempembed.system.wording import counts, quoted, shown

SOURCE = "source"
"""Column with the file that a pair is from."""
_DUPLICATE = "duplicate pair"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Distinct pairs of a query and the document that answers it, in the order of the source."""

    table: pa.Table
    """query, document: large_string, the names of pictures among them; optional hard_negatives: list<large_string>, label,
    group: large_string, scores: list<float>

    (of the document, then of each hard negative); with more than one file source: dictionary of the files' names."""
    source: str
    """What the user gave, for messages and logs."""
    num_skipped: int = 0
    """Rows left out: duplicate pairs and rows judged as no pairs always, bad rows under `skip_bad_rows`."""
    skip_reasons: Mapping[str, int] = field(default_factory=dict)
    """Reason to number of rows; the values sum to `num_skipped`."""
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`skip_reasons` of each of several sources."""
    groups: tuple[int, ...] = ()
    """For each number in `sources`, which of several sources that were given it is from; empty where one was given."""

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def queries(self) -> list[str]:
        """All queries, as a new list."""
        return self.table[QUERY].to_pylist()

    @property
    def documents(self) -> list[str]:
        """The document of each query, as a new list."""
        return self.table[DOCUMENT].to_pylist()

    @property
    def hard_negatives(self) -> list[list[str]] | None:
        """Wrong answers of each query, possibly none; None where no row has any."""
        return self.table[HARD_NEGATIVES].to_pylist() if HARD_NEGATIVES in self.table.column_names else None

    @property
    def labels(self) -> list[str | None] | None:
        """The label of each pair, None where its source has none; None where no source has labels."""
        return self.table[LABEL].to_pylist() if LABEL in self.table.column_names else None

    @property
    def scores(self) -> list[list[float] | None] | None:
        """A teacher's scores of each pair's document and hard negatives, in their order; None where no row has any."""
        return self.table[SCORES].to_pylist() if SCORES in self.table.column_names else None

    @property
    def groups_of_rows(self) -> np.ndarray | None:
        """int64 of each pair: equal for pairs of a group, unlike any other for a pair of none; None where the data has no groups."""
        return group_numbers(self.table)

    @property
    def sources(self) -> np.ndarray | None:
        """int32 number of the file of each pair, from 0; None where all are of one file."""
        if SOURCE not in self.table.column_names:
            return None
        return self.table[SOURCE].combine_chunks().indices.to_numpy().astype(np.int32)

    @property
    def source_names(self) -> list[str]:
        """What the numbers in `sources` are called; empty where all are of one file."""
        if SOURCE not in self.table.column_names:
            return []
        return self.table[SOURCE].combine_chunks().dictionary.to_pylist()

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a sha256 of all columns in row order; chunks and file format do not change it."""
        digest = hashlib.sha256()
        for name in (*SCHEMA.names, SOURCE):
            if name in self.table.column_names:
                digest.update(name.encode() + _digest(self.table[name]))
        return digest.hexdigest()[:16]


def read_pairs(
    source: str | Sequence[str],
    *,
    skip_bad_rows: bool = False,
    split: Split = "train",
    min_score: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Pairs:
    """Read pairs from a file, a folder of files, or a `datasets` hub name; or from several of these.

    Texts are kept byte for byte. Of equal pairs (same query, same document) the first is kept and the others
    are counted, always: a second copy in a batch would be a negative that is right. A null or empty
    `negative_k` or `hard_negatives` means that the row has none; labels all rows of a source have, or no row. A row with
    several right documents is several pairs. Rows of FlagEmbedding, tevatron, ms-swift and DPR are read, and rows of
    sentence1, sentence2 with a label or a score.

    Args:
        source: `.parquet`, `.jsonl`, `.ndjson`, `.json` (one object per line), `.csv`, `.tsv`, each perhaps `.gz`, a
            folder of these (sorted by name, subfolders not read), a folder of `save_to_disk`, or
            `org/name[:config[:split]]`. An existing path wins over a hub name. Several may have unlike columns.
        skip_bad_rows: leave bad rows out and count them, instead of raising. Damage that hides where rows
            start (Parquet that cannot be decoded, a broken quote in CSV), a line above 16 MiB, and Parquet that
            would unpack to more than 1,000 times the file or half of the free memory still raise.
        split: which files are read where their names say a split: those for training or those for a test.
        min_score: rows with a column of scores are pairs from here on.
        say: takes a line for what a user should know: splits, columns that are not read, counts.

    Raises:
        UserError: names the file, and where it applies the row (from 1, header and blank lines not counted),
            the line and the column.
    """
    places = [source] if isinstance(source, str) else list(source)
    given = [
        _read(place, Faults(skip=skip_bad_rows), split=split, min_score=min_score, say=say)
        for place in places
    ]
    table, groups = _together(given)
    distinct = _first_of_each_pair(table)
    if not distinct.all():
        owners = np.repeat(np.arange(len(given)), [len(one.table) for one in given])
        copies = np.bincount(owners[~distinct])
        for one, number in zip(given, copies, strict=False):
            if number:
                one.faults.reasons[_DUPLICATE] += int(number)
            if number == len(one.table):
                raise UserError(
                    f"{one.place}: expected pairs that the sources before it do not have, all {number} are copies; leave it out"
                )
        table = filtered(table, distinct)
    of_pictures(table[QUERY], f"{places[0]}, queries")
    of_pictures(table[DOCUMENT], f"{places[0]}, documents")
    reasons = sum((one.faults.reasons for one in given), Counter[str]())
    return Pairs(
        table=_without_empty_columns(table),
        source=", ".join(places),
        num_skipped=reasons.total(),
        skip_reasons=dict(reasons),
        left_out={one.place: dict(one.faults.reasons) for one in given} if len(given) > 1 else {},
        groups=groups,
    )


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What was read of one source."""

    place: str
    table: pa.Table
    """With the number of each row's file."""
    files: list[str]
    """Those with pairs."""
    faults: Faults


def _read(
    place: str, faults: Faults, *, split: Split, min_score: float | None, say: Callable[[str], None]
) -> _Given:
    """The pairs of one source."""
    try:
        tables = read_source(
            place, Reading(faults=faults, split=split, scored=min_score is not None, say=say)
        )
    except OSError as error:
        raise UserError(
            f"{place[:300]}: expected a readable file or folder, got {str(error)[:300]}: check its permissions"
        ) from error
    filled = {name: table for name, table in tables.items() if table.num_rows}
    table = judged_pairs(_join(filled), place, min_score, faults, say)
    _require_pairs(table, place, faults)
    _say_notes(table, place, faults, say)
    return _Given(place=place, table=table, files=list(filled), faults=faults)


def _together(given: Sequence[_Given]) -> tuple[pa.Table, tuple[int, ...]]:
    """The pairs of all sources, with the names of their files if there are several; the source of each file, if there are several."""
    files = [name for one in given for name in one.files]
    firsts = np.cumsum([0, *(len(one.files) for one in given)])
    numbers = [one.table[SOURCE].to_numpy() + int(first) for one, first in zip(given, firsts, strict=False)]
    table = pa.concat_tables([one.table for one in given]).drop_columns(SOURCE)
    if len(files) < 2:
        return table, ()
    column = pa.DictionaryArray.from_arrays(
        np.concatenate(numbers).astype(np.int32), pa.array(_short_names(files), TEXT)
    )
    groups = tuple(place for place, one in enumerate(given) for _ in one.files)
    return table.append_column(SOURCE, column), groups if len(given) > 1 else ()


def _short_names(files: Sequence[str]) -> list[str]:
    """Names of files without their folders; with as many of them as tell all apart.

    >>> _short_names(["a/x.csv", "b/x.csv"])
    ['a/x.csv', 'b/x.csv']
    """
    if twice := next((file for file in files if files.count(file) > 1), None):
        raise UserError(f"--data: expected each file once, got {twice} twice")
    parts = [Path(file).parts for file in files]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(files)


def _say_notes(table: pa.Table, source: str, faults: Faults, say: Callable[[str], None]) -> None:
    """Tell the user what is no fault, but worth knowing."""
    if faults.unread:
        say(f"{source}: columns that are not read: {quoted(faults.unread)}")
    if faults.right_negatives:
        say(
            f"{source}: left out {faults.right_negatives} hard negatives that are right answers of their own row"
        )
    if {"0", "1"}.issuperset(table[LABEL].unique().to_pylist()):
        say(
            f"{source}: labels 0 and 1 are taken for classes of documents: where 0 means a wrong document, call the "
            f"columns sentence1, sentence2 and label"
        )


def _require_pairs(table: pa.Table, source: str, faults: Faults) -> None:
    if not table.num_rows:
        if not faults.reasons:
            raise UserError(
                f"{source}: expected at least one pair, but it has no rows: give a file with pairs"
            )
        first = f". The first: {faults.first}" if faults.first else ": give others"
        raise UserError(
            f"{source}: expected at least one good pair, but every row is bad ({counts(faults.reasons)}){first}"
        )
    if table.num_rows > 1 and _all_same_pair(table):
        raise UserError(
            f"{source}: expected different pairs, but all {table.num_rows} rows are duplicates of one pair, "
            f"query {shown(table[QUERY][0].as_py())}: check how the file was made"
        )


def require_rows(pairs: Pairs, minimum: int, what: str) -> None:
    """Raise UserError if there are fewer pairs than `what` needs, for example "one batch (--batch-size 512)"."""
    if len(pairs) >= minimum:
        return
    skipped = (
        f" ({pairs.num_skipped} rows left out: {counts(pairs.skip_reasons)})" if pairs.num_skipped else ""
    )
    raise UserError(
        f"{pairs.source}: expected at least {minimum} pairs for {what}, got {len(pairs)}{skipped}: "
        f"give more data or ask for less"
    )


def _join(filled: Mapping[str, pa.Table]) -> pa.Table:
    """The rows of all files of a source, with the number of each one's file; labels all files have, or none."""
    unlabelled = [name for name, table in filled.items() if table[LABEL].null_count]
    if 0 < len(unlabelled) < len(filled):
        labelled = next(name for name in filled if name not in unlabelled)
        raise UserError(
            f"{unlabelled[0]}: expected a column {LABEL!r} as in {labelled}, got none: "
            f"add labels to all files or remove them from all"
        )
    table = pa.concat_tables([ROW.empty_table(), *filled.values()])
    files = np.repeat(np.arange(len(filled), dtype=np.int32), [part.num_rows for part in filled.values()])
    return table.append_column(SOURCE, pa.array(files))


def _without_empty_columns(table: pa.Table) -> pa.Table:
    """The table without columns of nulls, so that such a column equals none."""
    if not pc.sum(pc.list_value_length(table[HARD_NEGATIVES])).as_py():
        table = table.drop_columns(HARD_NEGATIVES)
    for name in (SCORES, GROUP):
        if table[name].null_count == len(table):
            table = table.drop_columns(name)
    return table.drop_columns(LABEL) if table[LABEL].null_count == len(table) else table


def _each_pair(table: pa.Table) -> Iterator[tuple[str, str]]:
    for part in parts(table.select([QUERY, DOCUMENT])):
        yield from zip(part[QUERY].to_pylist(), part[DOCUMENT].to_pylist(), strict=True)


def _all_same_pair(table: pa.Table) -> bool:
    stripped = ((query.strip(), document.strip()) for query, document in _each_pair(table))
    first = next(stripped)
    return all(pair == first for pair in stripped)


def _first_of_each_pair(table: pa.Table) -> np.ndarray:
    """For each row, False if it is a later copy of a pair. Hashes of 8 bytes find candidates; texts decide."""
    hashes = np.fromiter(map(hash, _each_pair(table)), np.int64, count=len(table))
    is_candidate = repeated(hashes)
    keep = np.ones(len(table), bool)
    seen: set[tuple[str, str]] = set()
    candidates = _each_pair(filtered(table.select([QUERY, DOCUMENT]), is_candidate))
    for row, pair in zip(np.flatnonzero(is_candidate), candidates, strict=True):
        keep[row] = pair not in seen
        seen.add(pair)
    return keep


def _digest(column: pa.ChunkedArray) -> bytes:
    """A digest of lengths and contents as two streams, so that chunks and the width of Arrow's offsets do not matter."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    if pa.types.is_floating(column.type):
        for chunk in column.chunks:
            content.update(chunk.to_numpy(zero_copy_only=False).astype("<f4").tobytes())
        return content.digest()
    if not is_text(column.type):
        for chunk in column.chunks:
            lengths.update(_int64_bytes(pc.list_value_length(chunk).fill_null(0)))
        items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        return lengths.digest() + _digest(items)
    for chunk in column.cast(TEXT).chunks:
        lengths.update(_int64_bytes(pc.binary_length(chunk).fill_null(-1)))
        texts = chunk.drop_null()
        if len(texts):
            _, offsets, data = texts.buffers()
            ends = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
            content.update(data.slice(ends[0], ends[1] - ends[0]) if data else b"")
    return lengths.digest() + content.digest()


def _int64_bytes(numbers: pa.Array) -> bytes:
    return numbers.to_numpy(zero_copy_only=False).astype("<i8").tobytes()
