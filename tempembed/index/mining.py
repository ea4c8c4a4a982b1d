"""Hard negatives: for each query the nearest documents that are no answers of it, by exact search in blocks.

Shape legend: U distinct queries, M distinct documents, P pairs of a query and a document, N negatives of a query.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.data.candidates import Known
from tempembed.index.top_k import decoded_top_k
from tempembed.objectives.margin import Margin
from tempembed.system.console import Progress

BLOCK_PLACES = 2**20
"""Candidates that are held at a time."""
MOST_QUERIES = 2048
"""Queries of a block."""
PAIR_ROWS = 16_384
"""Pairs whose embeddings are held at a time."""

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


def mine(
    queries_UD: Float[Tensor, "U D"],
    documents_MD: Float[Tensor, "M D"],
    known: Known,
    rules: Rules,
    judge: Score | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Negatives:
    """Search, and leave out by the rules. Memory: a block of candidates, and the result.

    Args:
        queries_UD: unit embeddings, perhaps memory-mapped.
        documents_MD: the same.
        known: what is never a negative.
        rules: the rest.
        judge: gives the scores that margins go by, in place of the cosines of the search; ranks stay those of the search.
        say: takes lines of progress.
    """
    num_queries, num_documents = len(queries_UD), len(documents_MD)
    score = judge or cosines(queries_UD, documents_MD)
    every = np.union1d(known.answers, known.others)
    counts = np.bincount(every // num_documents, minlength=num_queries)
    documents = np.full((num_queries, rules.num), -1)
    scores = np.full((num_queries, rules.num), np.nan, np.float32)
    answer_scores = np.empty(len(known.answers), np.float32)
    num_seen, left_out = 0, Counter[str]()
    progress = Progress("mined", "queries", num_queries, say)
    for block in _blocks(counts, rules.depth):
        depth = rules.depth + int(counts[block].max())
        near, nearest = decoded_top_k(queries_UD[torch.from_numpy(block)], documents_MD, lambda x: x, depth)
        found, ids = near.numpy(), nearest.numpy()
        keys = block[:, None] * num_documents + ids
        is_answer, is_known = _is_in(keys, known.answers), _is_in(keys, every)
        rank = np.cumsum(~is_known, axis=1)
        fits = ~is_known & (rank > rules.skip) & (rank <= rules.depth)
        num_seen += int(fits.sum())
        left_out["a known answer"] += int(is_answer.sum())
        left_out["the query's own text, or its hard negative already"] += int((is_known & ~is_answer).sum())
        left_out[f"among the {rules.skip} nearest"] += int((~is_known & (rank <= rules.skip)).sum())
        if judge is not None:
            at, place = np.nonzero(fits)
            found = np.full(ids.shape, np.nan, np.float32)
            found[at, place] = judge(block[at], ids[at, place])
        places, answers = known.answers_of(block)
        answer_scores[answers] = score(block[places], known.answers[answers] % num_documents)
        for reason, highest in _ceilings(len(block), places, answer_scores[answers], rules):
            is_above = fits & (found > highest[:, None])
            left_out[reason] += int(is_above.sum())
            fits &= ~is_above
        for row, query in enumerate(block):
            left = np.flatnonzero(fits[row])
            chosen = _choice(left, rules, int(query))
            left_out["more than were asked for"] += len(left) - len(chosen)
            documents[query, : len(chosen)], scores[query, : len(chosen)] = (
                ids[row, chosen],
                found[row, chosen],
            )
        progress.add(len(block))
    return Negatives(
        documents=documents, scores=scores, answer_scores=answer_scores, num_seen=num_seen, left_out=+left_out
    )


def cosines(queries_UD: Float[Tensor, "U D"], documents_MD: Float[Tensor, "M D"]) -> Score:
    """Products of unit embeddings, some pairs at a time."""

    def score(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        found = np.empty(len(queries), np.float32)
        for low in range(0, len(queries), PAIR_ROWS):
            part = slice(low, low + PAIR_ROWS)
            left, right = (
                queries_UD[torch.from_numpy(queries[part])],
                documents_MD[torch.from_numpy(documents[part])],
            )
            found[part] = (left * right).sum(1).numpy()
        return found

    return score


def _is_in(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which of the keys are among those of an ascending array, which is not empty."""
    return ordered[np.searchsorted(ordered, keys).clip(max=len(ordered) - 1)] == keys


def _blocks(num_known: np.ndarray, depth: int) -> Iterator[np.ndarray]:
    """All queries, ascending within a block; those with many known answers, which take a deeper search, among themselves."""
    order = np.argsort(num_known, kind="stable")
    start = 0
    while start < len(order):
        size = min(MOST_QUERIES, len(order) - start)
        while size > 1 and size * (depth + num_known[order[start + size - 1]]) > BLOCK_PLACES:
            size //= 2
        yield np.sort(order[start : start + size])
        start += size


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
