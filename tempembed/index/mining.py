"""Hard negatives: for each query the nearest documents that are no answers of it, block by block on any processes.

A block of queries is searched in all documents, and what it found is a file; then the rules choose from the files. Neither
depends on how many processes there are, so the negatives are the same on one and on a cluster.

Shape legend: U distinct queries, M distinct documents, P pairs of a query and a document, N negatives of a query.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Int

from tempembed.data.candidates import Known
from tempembed.index.encode import codec_of, one_thread
from tempembed.index.retriever import Retriever
from tempembed.index.shards import SAME
from tempembed.objectives.margin import Margin
from tempembed.settings.flat import fingerprint
from tempembed.system.atomic import appearing
from tempembed.system.console import Progress
from tempembed.system.disk import room_for
from tempembed.system.in_order import Over

BLOCK_PLACES = 2**20
"""Candidates that are held at a time."""
MOST_QUERIES = 2048
"""Queries of a block."""
PAIRS = 2**16
"""Pairs that are scored at a time."""
FORMAT = 1
"""Of the files; raise when a search finds others."""

Score = Callable[[Int[np.ndarray, " P"], Int[np.ndarray, " P"]], Float[np.ndarray, " P"]]
"""What a model says of pairs of a query and a document, by their numbers."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which of a query's candidates are its hard negatives."""

    skip: int = 0
    """So many of the nearest are left out; known answers have no rank."""
    depth: int = 50
    """Candidates up to this rank are looked at."""
    margin: float | None = None
    """A candidate scores at least so much less than the query's lowest answer."""
    relative_margin: float | None = None
    """The same as a share of the answer's score: 0.05 is NV-Retriever's perc-to-positive of 95 % (arXiv:2407.15831)."""
    max_score: float | None = None
    """The most that a candidate may score."""
    num: int = 4
    """Hard negatives of a query."""
    choice: Literal["top", "random"] = "top"
    """The nearest of those that are left, or a random choice of them."""
    seed: int = 0
    """Of that choice."""


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """What was found for each query, and what was not taken."""

    documents: Int[np.ndarray, "U N"]
    """Numbers of the documents, nearest first; -1: no more."""
    scores: Float[np.ndarray, "U N"]
    """What the margins went by: the judge's, or the cosine of the search."""
    answer_scores: Float[np.ndarray, " A"]
    """What the judge or the search says of the known answers."""
    num_seen: int
    """Candidates within the ranks."""
    left_out: Counter[str]
    """Reason to number of candidates."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Queries that are searched together."""

    retriever: Retriever
    path: Path
    """Of the file that is found."""
    queries: Int[np.ndarray, " Q"]
    """Their numbers, ascending."""
    depth: int
    """Documents that are found for each, known ones among them."""

    @property
    def num_found(self) -> int:
        """Documents that there are for each."""
        return min(self.depth, self.retriever.documents.num_rows)

    def found(self) -> tuple[Float[np.ndarray, "Q C"], Int[np.ndarray, "Q C"]] | None:
        """Scores and numbers of documents, best first; None where no whole file is there."""
        try:
            with self.path.open("rb") as opened, np.load(opened) as file:
                scores, ids = file["scores"], file["ids"]
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None
        return (scores, ids) if scores.shape == ids.shape == (len(self.queries), self.num_found) else None


def search_block(block: Block) -> int:
    """Search, and write what is found; the number of queries.

    Raises:
        DiskFullError: no room.
    """
    scores, ids = block.retriever.nearest(block.queries, block.depth)
    with room_for("nearest documents", block.path.parent), appearing(block.path) as partial:
        np.savez(partial, scores=scores.numpy(), ids=ids.numpy())
    return len(block.queries)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Queries of a block from whose candidates the rules choose."""

    block: Block
    rows: slice
    """Of the block's queries."""
    known: Known
    """Of these queries alone."""
    rules: Rules
    judge: Score | None

    @property
    def queries(self) -> Int[np.ndarray, " Q"]:
        """Their numbers, ascending."""
        return self.block.queries[self.rows]


def choose(piece: Piece) -> Negatives:
    """The negatives of a piece's queries; answers are those of its `known`."""
    queries, known, rules, judge = piece.queries, piece.known, piece.rules, piece.judge
    there = piece.block.found()
    assert there is not None
    found, ids = (each[piece.rows] for each in there)
    keys = queries[:, None] * known.num_documents + ids
    is_answer, is_other = _is_in(keys, known.answers), _is_in(keys, known.others)
    is_known = is_answer | is_other
    rank = np.cumsum(~is_known, axis=1)
    fits = ~is_known & (rank > rules.skip) & (rank <= rules.depth)
    left_out = Counter(
        {
            "a known answer": int(is_answer.sum()),
            "the query's own text, or its hard negative already": int(is_other.sum()),
            f"among the {rules.skip} nearest": int((~is_known & (rank <= rules.skip)).sum()),
        }
    )
    num_seen = int(fits.sum())
    with one_thread():
        if judge is not None:
            at, place = np.nonzero(fits)
            found = np.full(ids.shape, np.nan, np.float32)
            found[at, place] = judge(queries[at], ids[at, place])
        asked, answers = np.divmod(known.answers, known.num_documents)
        answer_scores = (judge or piece.block.retriever)(asked, answers)
    places = np.searchsorted(queries, asked)
    for reason, highest in _ceilings(len(queries), places, answer_scores, rules):
        is_above = fits & (found > highest[:, None])
        left_out[reason] += int(is_above.sum())
        fits &= ~is_above
    documents = np.full((len(queries), rules.num), -1)
    scores = np.full((len(queries), rules.num), np.nan, np.float32)
    for row, query in enumerate(queries.tolist()):
        left = np.flatnonzero(fits[row])
        chosen = _choice(left, rules, query)
        left_out["more than were asked for"] += len(left) - len(chosen)
        documents[row, : len(chosen)], scores[row, : len(chosen)] = ids[row, chosen], found[row, chosen]
    return Negatives(
        documents=documents, scores=scores, answer_scores=answer_scores, num_seen=num_seen, left_out=left_out
    )


def mine(
    retriever: Retriever,
    known: Known,
    rules: Rules,
    folder: Path,
    over: Over,
    *,
    judge: Score | None = None,
    judge_over: Over | None = None,
    judged: int = MOST_QUERIES,
    say: Callable[[str], None] = lambda _: None,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Negatives:
    """Search, and leave out by the rules. Memory of this process: the result, and some numbers of each pair.

    Args:
        retriever: searches, and scores.
        known: what is never a negative.
        rules: the rest.
        folder: keeps what was found for each block, which later calls find again, whatever their margins.
        over: calls a function in processes.
        judge: gives the scores that margins go by, in place of those of the search; ranks stay those of the search.
        judge_over: the same as `over`, for `judge`.
        judged: queries whose candidates are judged at a time.
        say: takes lines of progress.
        report: takes metrics, after each block.
    """
    num_queries, blocks = retriever.queries.num_rows, _blocks(retriever, known, rules, folder)
    left = [block for block in blocks if block.found() is None]
    if there := len(blocks) - len(left):
        say(f"going on: {there:,} of {len(blocks):,} blocks of queries are searched")
    steps = _Steps(there, len(blocks) + sum(-(-len(block.queries) // judged) for block in blocks), report)
    add = steps.of("searched", sum(len(block.queries) for block in left), say)
    for _, num in over(search_block, left):
        add(num)
    documents = np.full((num_queries, rules.num), -1)
    scores = np.full((num_queries, rules.num), np.nan, np.float32)
    answer_scores = np.empty(len(known.answers), np.float32)
    num_seen, left_out = 0, Counter[str]()
    add = steps.of("mined", num_queries, say)
    for piece, chosen in (judge_over or over)(choose, _pieces(blocks, known, rules, judge, judged)):
        documents[piece.queries], scores[piece.queries] = chosen.documents, chosen.scores
        answer_scores[known.answers_of(piece.queries)] = chosen.answer_scores
        num_seen += chosen.num_seen
        left_out.update(chosen.left_out)
        add(len(piece.queries))
    return Negatives(
        documents=documents, scores=scores, answer_scores=answer_scores, num_seen=num_seen, left_out=+left_out
    )


@dataclass(frozen=True, kw_only=True)
class PairsOf:
    """Pairs that are scored at a time."""

    score: Score
    queries: Int[np.ndarray, " P"]
    documents: Int[np.ndarray, " P"]


def score_pairs(pairs: PairsOf) -> Float[np.ndarray, " P"]:
    """Their scores."""
    with one_thread():
        return pairs.score(pairs.queries, pairs.documents)


def scores_of(
    score: Score, queries: Int[np.ndarray, " P"], documents: Int[np.ndarray, " P"], over: Over
) -> Float[np.ndarray, " P"]:
    """Scores of any number of pairs, some at a time on any processes."""
    parts = (
        PairsOf(score=score, queries=queries[low : low + PAIRS], documents=documents[low : low + PAIRS])
        for low in range(0, len(queries), PAIRS)
    )
    return np.concatenate([np.empty(0, np.float32), *(found for _, found in over(score_pairs, parts))])


def _is_in(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which of the keys are among those of an ascending array."""
    if not len(ordered):
        return np.zeros(keys.shape, bool)
    return ordered[np.searchsorted(ordered, keys).clip(max=len(ordered) - 1)] == keys


def _blocks(retriever: Retriever, known: Known, rules: Rules, folder: Path) -> list[Block]:
    """All queries; those with many known answers, which take a deeper search, among themselves."""
    num_known = known.counts(retriever.queries.num_rows)
    facts = [{key: each.facts[key] for key in SAME} for each in (retriever.queries, retriever.documents)]
    blocked = [BLOCK_PLACES, MOST_QUERIES, rules.depth, hashlib.sha256(num_known.tobytes()).hexdigest()]
    place = folder / fingerprint([FORMAT, *facts, *blocked])
    place.mkdir(parents=True, exist_ok=True)
    order, reranked = np.argsort(num_known, kind="stable"), codec_of(retriever.documents).spec
    least = reranked.depth if reranked.rerank else 0
    blocks, start = list[Block](), 0
    while start < len(order):
        size = min(MOST_QUERIES, len(order) - start)
        while size > 1 and size * max(rules.depth + num_known[order[start + size - 1]], least) > BLOCK_PLACES:
            size //= 2
        queries = np.sort(order[start : start + size])
        depth = rules.depth + int(num_known[queries].max())
        blocks.append(
            Block(retriever=retriever, path=place / f"{len(blocks):06d}.npz", queries=queries, depth=depth)
        )
        start += size
    return blocks


def _pieces(
    blocks: list[Block], known: Known, rules: Rules, judge: Score | None, size: int
) -> Iterator[Piece]:
    for block in blocks:
        for low in range(0, len(block.queries), size):
            rows = slice(low, low + size)
            yield Piece(block=block, rows=rows, known=known.of(block.queries[rows]), rules=rules, judge=judge)


class _Steps:
    """Blocks and pieces that are done, for trackers; lines of progress beside them."""

    def __init__(self, done: int, total: int, report: Callable[[dict[str, Any]], None]) -> None:
        self._done, self._total, self._report = done, total, report

    def of(self, name: str, total: int, say: Callable[[str], None]) -> Callable[[int], None]:
        """What takes the number of queries of each step of a kind, of which there are `total`."""
        progress, began, num = Progress(name, "queries", total, say), time.monotonic(), 0

        def add(queries: int) -> None:
            nonlocal num
            self._done, num = self._done + 1, num + queries
            progress.add(queries)
            rate = num / (time.monotonic() - began)
            self._report(
                {
                    "step": self._done, "num_steps": self._total, f"mine/queries_{name}": num, f"mine/queries_{name}_per_second": rate,
                    "mine/seconds_left": (total - num) / rate,
                }
            )  # fmt: skip

        return add


def _ceilings(
    num: int, places: np.ndarray, scores: np.ndarray, rules: Rules
) -> Iterator[tuple[str, np.ndarray]]:
    """What the candidates of each query of a block may score at most, and how the reason is called.

    Of several answers the lowest counts, as in sentence-transformers' `mine_hard_negatives`.

    Args:
        num: queries of the block.
        places: the query of each answer.
        scores: of each answer.
        rules: the margins.
    """
    lowest = np.full(num, np.inf, np.float32)
    np.minimum.at(lowest, places, scores)
    positive = torch.from_numpy(lowest)
    if rules.margin is not None:
        highest = Margin(absolute=rules.margin).highest(positive)
        yield f"within --margin {rules.margin:g} of an answer", highest.numpy()
    if rules.relative_margin is not None:
        highest = Margin(relative=rules.relative_margin).highest(positive)
        yield f"within --relative-margin {rules.relative_margin:g} of an answer", highest.numpy()
    if rules.max_score is not None:
        yield f"above --max-score {rules.max_score:g}", np.full(num, rules.max_score, np.float32)


def _choice(left: np.ndarray, rules: Rules, query: int) -> np.ndarray:
    """Which of the places that are left are taken, nearest first; a random choice depends on nothing but seed and query."""
    if rules.choice == "top" or len(left) <= rules.num:
        return left[: rules.num]
    chance = np.random.default_rng((rules.seed, query))
    return np.sort(chance.choice(left, rules.num, replace=False))
