"""Rows of two texts with a label or a score: which of them are pairs."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bad_rows import Faults
from tempembed.data.columns import DOCUMENT, HARD_NEGATIVES, QUERY, SCHEMA, SCORE
from tempembed.data.kept_rows import filtered
from tempembed.system.errors import UserError


def judged_pairs(
    table: pa.Table, source: str, min_score: float | None, faults: Faults, say: Callable[[str], None]
) -> pa.Table:
    """The rows that are pairs, with the same columns but the score; rows without a score all are.

    Labels 0 and 1: rows with 1 are pairs, and the documents of rows with 0 are hard negatives of the pairs that have
    the same query. Other scores: rows from `min_score` on are pairs.

    Raises:
        UserError: scores between or beyond 0 and 1, and no `min_score`.
    """
    scores = table[SCORE].to_numpy()
    table = table.drop_columns(SCORE)
    is_judged = ~np.isnan(scores)
    if not is_judged.any():
        if min_score is not None:
            say(f"{source}: --min-score changes nothing: no column of scores is read")
        return table
    is_binary = bool(np.isin(scores[is_judged], (0, 1)).all())
    if not is_binary and min_score is None:
        least, most = scores[is_judged].min(), scores[is_judged].max()
        raise UserError(
            f"{source}: expected rows that are pairs, or labels 0 and 1, got scores from {least:g} to {most:g}: say "
            f"from which score on a row is a pair, with --min-score (in data of entailment 0 is the class of pairs: "
            f"keep those rows alone)"
        )
    threshold = 1.0 if min_score is None else min_score
    is_pair = ~is_judged | (scores >= threshold)
    num_pairs, num_wrong = int(is_pair.sum()), int((~is_pair).sum())
    pairs, wrong = filtered(table, is_pair), filtered(table, ~is_pair)
    if not is_binary:
        say(
            f"{source}: {num_pairs} rows with a score of at least {threshold:g} are pairs, {num_wrong} are left out"
        )
        _leave_out(faults, f"score below {threshold:g}", num_wrong)
        return pairs
    pairs, num_used, num_right = _with_negatives(pairs, wrong)
    faults.right_negatives += num_right
    _leave_out(faults, "wrong answer of a query that has no right one", num_wrong - num_used - num_right)
    say(
        f"{source}: {num_pairs} rows with label 1 are pairs; of {num_wrong} with label 0, {num_used} are hard "
        f"negatives of the same query"
    )
    return pairs


def _leave_out(faults: Faults, reason: str, number: int) -> None:
    if number:
        faults.reasons[reason] += number


def _with_negatives(pairs: pa.Table, wrong: pa.Table) -> tuple[pa.Table, int, int]:
    """(the pairs with their queries' wrong documents as hard negatives, how many were used, how many were right ones)."""
    queries, documents = pairs[QUERY].to_pylist(), pairs[DOCUMENT].to_pylist()
    right: dict[str, set[str]] = {}
    for query, document in zip(queries, documents, strict=True):
        right.setdefault(query, set()).add(document)
    negatives: dict[str, list[str]] = {}
    num_used = num_right = 0
    wrong = wrong.filter(pc.is_in(wrong[QUERY], value_set=pairs[QUERY].combine_chunks()))
    for query, document in zip(wrong[QUERY].to_pylist(), wrong[DOCUMENT].to_pylist(), strict=True):
        if document in right[query]:
            num_right += 1
        else:
            negatives.setdefault(query, []).append(document)
            num_used += 1
    if not num_used:
        return pairs, 0, num_right
    rows = [
        own + negatives.get(query, [])
        for query, own in zip(queries, pairs[HARD_NEGATIVES].to_pylist(), strict=True)
    ]
    place = pairs.column_names.index(HARD_NEGATIVES)
    return (
        pairs.set_column(
            place, SCHEMA.field(HARD_NEGATIVES), pa.array(rows, SCHEMA.field(HARD_NEGATIVES).type)
        ),
        num_used,
        num_right,
    )
