"""What may become a hard negative of a query: every distinct document, but for those that are known not to be one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from tempembed.data.columns import HARD_NEGATIVES, SCHEMA, SCORES
from tempembed.data.pairs import Pairs
from tempembed.data.text_ids import text_ids

CHUNK_ROWS = 65_536
"""Pairs whose negatives are Python objects at a time."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Documents that are never negatives of a query: (query, document) as `query * M + document`, ascending, each once."""

    answers: Int[np.ndarray, " A"]
    """Those that the data lists; every query has one."""
    others: Int[np.ndarray, " B"]
    """The query's own text, and what the data has as its hard negatives already."""
    num_documents: int

    def answers_of(self, queries: Int[np.ndarray, " Q"]) -> tuple[np.ndarray, np.ndarray]:
        """(place in `queries`, place in `answers`) of each listed answer of some queries."""
        low = np.searchsorted(self.answers, queries * self.num_documents)
        counts = np.searchsorted(self.answers, (queries + 1) * self.num_documents) - low
        places = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, np.repeat(low, counts) + within


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Distinct queries and documents of pairs, as they come first, and which document belongs to which query.

    Texts are the same by `text_ids`, so copies that differ in white space are one.
    """

    queries: list[str]
    documents: list[str]
    query_of: Int[np.ndarray, " R"]
    """The query of each pair."""
    document_of: Int[np.ndarray, " R"]
    given: tuple[Int[np.ndarray, " G"], Int[np.ndarray, " G"]]
    """(pair, document) of the hard negatives that the data has, pairs ascending."""
    known: Known

    @staticmethod
    def of(pairs: Pairs) -> "Candidates":
        """Those of all pairs; hard negatives that the data has are among the documents."""
        asked, answers = pairs.queries, pairs.documents
        rows, negatives = list[int](), list[str]()
        for row, texts in enumerate(pairs.hard_negatives or ()):
            rows += [row] * len(texts)
            negatives += texts
        queries, query_of, query_ids = _distinct(asked)
        documents, numbers, document_ids = _distinct([*answers, *negatives])
        document_of, given = numbers[: len(answers)], numbers[len(answers) :]
        num, at = len(documents), np.array(rows, np.int64)
        order = np.argsort(document_ids)
        own = order[np.searchsorted(document_ids[order], query_ids).clip(max=num - 1)]
        is_own = document_ids[own] == query_ids
        right = np.unique(query_of * num + document_of)
        others = np.unique(
            np.concatenate([np.flatnonzero(is_own) * num + own[is_own], query_of[at] * num + given])
        )
        known = Known(answers=right, others=np.setdiff1d(others, right), num_documents=num)
        return Candidates(
            queries=queries, documents=documents, query_of=query_of, document_of=document_of, given=(at, given), known=known
        )  # fmt: skip


def _distinct(texts: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(the distinct texts as they come first, the number of each text, the id of each distinct text)."""
    ids, first, number = np.unique(text_ids(texts), return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return [texts[i] for i in first[order]], place[number], ids[order]


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
    keys = candidates.query_of * known.num_documents + candidates.document_of
    of_pairs = np.searchsorted(known.answers, keys)
    ends = np.searchsorted(at, np.arange(len(pairs) + 1))
    for low in range(0, len(pairs), CHUNK_ROWS):
        part = pairs.table.slice(low, CHUNK_ROWS)
        texts, scores = list[list[str]](), list[list[float]]()
        for row in range(low, low + len(part)):
            query, own = candidates.query_of[row], slice(ends[row], ends[row + 1])
            has = found[query] >= 0
            numbers = [*given[own].tolist(), *found[query][has].tolist()]
            texts.append([candidates.documents[number] for number in numbers])
            if scored is not None:
                scores.append(
                    [
                        float(scored.answers[of_pairs[row]]),
                        *scored.given[own].tolist(),
                        *scored.found[query][has].tolist(),
                    ]
                )
        part = _with(part, HARD_NEGATIVES, texts)
        yield part if scored is None else _with(part, SCORES, scores)


def _with(table: pa.Table, name: str, values: list) -> pa.Table:
    field = SCHEMA.field(name)
    column = pa.array(values, field.type)
    if name not in table.column_names:
        return table.append_column(field, column)
    return table.set_column(table.column_names.index(name), field, column)
