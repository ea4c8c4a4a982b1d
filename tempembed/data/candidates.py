"""What may become a hard negative of a query: every distinct document, but for those that are known not to be one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from tempembed.data.columns import DOCUMENT, HARD_NEGATIVES, QUERY, SCHEMA, SCORES
from tempembed.data.kept_rows import PART_ROWS, over_parts, parts
from tempembed.data.numbered_texts import NumberedTexts
from tempembed.data.pairs import Pairs
from tempembed.data.text_ids import text_ids


@dataclass(frozen=True, kw_only=True)
class Known:
    """Documents that are never negatives of a query: (query, document) as `query * M + document`, ascending, each once."""

    answers: Int[np.ndarray, " A"]
    """Those that the data lists; every query has one."""
    others: Int[np.ndarray, " B"]
    """The query's own text, and what the data has as its hard negatives already."""
    num_documents: int

    def counts(self, num_queries: int) -> Int[np.ndarray, " U"]:
        """Known documents of each query."""
        of_queries = np.concatenate([self.answers, self.others]) // self.num_documents
        return np.bincount(of_queries, minlength=num_queries)

    def answers_of(self, queries: Int[np.ndarray, " Q"]) -> Int[np.ndarray, " a"]:
        """Places in `answers` of those of some queries, query by query."""
        return self._places(self.answers, queries)

    def of(self, queries: Int[np.ndarray, " Q"]) -> "Known":
        """What is known of some queries, ascending."""
        answers, others = (each[self._places(each, queries)] for each in (self.answers, self.others))
        return Known(answers=answers, others=others, num_documents=self.num_documents)

    def _places(self, keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
        low = np.searchsorted(keys, queries * self.num_documents)
        counts = np.searchsorted(keys, (queries + 1) * self.num_documents) - low
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(low, counts) + within


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Distinct queries and documents of pairs, as they come first, and which document belongs to which query.

    Texts are the same by `text_ids`, so copies that differ in white space are one. The texts are on disk, in memory some numbers
    for each pair.
    """

    queries: NumberedTexts
    documents: NumberedTexts
    query_of: Int[np.ndarray, " R"]
    """The query of each pair."""
    document_of: Int[np.ndarray, " R"]
    given: tuple[Int[np.ndarray, " G"], Int[np.ndarray, " G"]]
    """(pair, document) of the hard negatives that the data has, pairs ascending."""
    known: Known

    @staticmethod
    def of(pairs: Pairs, folder: Path) -> "Candidates":
        """Those of all pairs; hard negatives that the data has are among the documents.

        Args:
            pairs: as they were read.
            folder: takes the texts.

        Raises:
            DiskFullError: no room for the texts.
        """
        table = pairs.table.select(
            [n for n in (QUERY, DOCUMENT, HARD_NEGATIVES) if n in pairs.table.column_names]
        )
        identified = list(over_parts(_identified, table))
        asked, answers, negatives, lengths = (np.concatenate(each) for each in zip(*identified, strict=True))
        query_of, query_ids, first_queries = _distinct(asked)
        numbers, document_ids, first_documents = _distinct(np.concatenate([answers, negatives]))
        document_of, given = numbers[: len(answers)], numbers[len(answers) :]
        num, at = len(document_ids), np.repeat(np.arange(len(lengths)), lengths)
        order = np.argsort(document_ids)
        own = order[np.searchsorted(document_ids[order], query_ids).clip(max=num - 1)]
        is_own = document_ids[own] == query_ids
        right = np.unique(query_of * num + document_of)
        others = np.unique(
            np.concatenate([np.flatnonzero(is_own) * num + own[is_own], query_of[at] * num + given])
        )
        known = Known(answers=right, others=np.setdiff1d(others, right), num_documents=num)
        return Candidates(
            queries=NumberedTexts.write(folder, _at(first_queries, _texts(table, QUERY))),
            documents=NumberedTexts.write(
                folder, _at(first_documents, chain(_texts(table, DOCUMENT), _negatives(table)))
            ),
            query_of=query_of, document_of=document_of, given=(at, given), known=known,
        )  # fmt: skip


def _identified(part: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Text ids of queries, of documents and of hard negatives, and how many of these each pair has."""
    (negatives,) = _negatives(part) if HARD_NEGATIVES in part.column_names else (pa.array([], pa.string()),)
    lengths = np.zeros(len(part), np.int64)
    if HARD_NEGATIVES in part.column_names:
        lengths = (
            part[HARD_NEGATIVES].combine_chunks().value_lengths().fill_null(0).to_numpy().astype(np.int64)
        )
    texts = (part[QUERY].to_pylist(), part[DOCUMENT].to_pylist(), negatives.to_pylist())
    queries, documents, others = map(text_ids, texts)
    return queries, documents, others, lengths


def _texts(table: pa.Table, column: str) -> Iterator[pa.Array]:
    return (part[column].combine_chunks() for part in parts(table))


def _negatives(table: pa.Table) -> Iterator[pa.Array]:
    if HARD_NEGATIVES in table.column_names:
        yield from (part[HARD_NEGATIVES].combine_chunks().flatten() for part in parts(table))


def _distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the number of each text, the id of each distinct text, its first place, ascending)."""
    found, first, number = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[number], found[order], first[order]


def _at(places: np.ndarray, texts: Iterator[pa.Array]) -> Iterator[pa.Array]:
    """Those of many texts that are at some places, ascending."""
    start = 0
    for part in texts:
        low, high = np.searchsorted(places, [start, start + len(part)])
        yield part.take(pa.array(places[low:high] - start))
        start += len(part)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A judge's scores of all that stands in the output."""

    answers: Float[np.ndarray, " A"]
    """Of `Known.answers`."""
    given: Float[np.ndarray, " G"]
    """Of the hard negatives that the data has."""
    found: Float[np.ndarray, "U N"]


def with_negatives(
    pairs: Pairs, candidates: Candidates, found: Int[np.ndarray, "U N"], scored: Scored | None
) -> Iterator[pa.Table]:
    """The pairs' table in parts, with the hard negatives that they have and those that were found; -1 is none.

    Args:
        pairs: as they were read.
        candidates: of them.
        found: documents for each query.
        scored: writes a column of scores.
    """
    known, (at, given) = candidates.known, candidates.given
    for low in range(0, len(pairs), PART_ROWS):
        part = pairs.table.slice(low, PART_ROWS)
        rows = slice(low, low + len(part))
        queries = candidates.query_of[rows]
        own = slice(*np.searchsorted(at, [rows.start, rows.stop]))
        new, place = np.nonzero(found[queries] >= 0)
        numbers = _lists(len(part), (at[own] - low, given[own]), (new, found[queries[new], place]))
        texts = pa.ListArray.from_arrays(
            numbers.offsets, candidates.documents.take(numbers.values.to_numpy())
        )
        part = _with(part, HARD_NEGATIVES, texts)
        if scored is not None:
            keys = queries * known.num_documents + candidates.document_of[rows]
            scores = scored.answers[np.searchsorted(known.answers, keys)]
            all_scores = _lists(
                len(part), (np.arange(len(part)), scores), (at[own] - low, scored.given[own]),
                (new, scored.found[queries[new], place]),
            )  # fmt: skip
            part = _with(part, SCORES, all_scores)
        yield part


def _lists(num: int, *values: tuple[np.ndarray, np.ndarray]) -> pa.ListArray:
    """A list for each of `num` rows, of (row, value) with rows ascending; first those that are given first."""
    rows = np.concatenate([row for row, _ in values])
    order = np.argsort(rows, kind="stable")
    offsets = np.searchsorted(rows[order], np.arange(num + 1)).astype(np.int32)
    flat = np.concatenate([value for _, value in values])[order]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    field = SCHEMA.field(name)
    column = column.cast(field.type)
    if name not in table.column_names:
        return table.append_column(field, column)
    return table.set_column(table.column_names.index(name), field, column)
