"""A hold-out: test pairs that share no text with a training pair."""

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.columns import DOCUMENT, GROUP, HARD_NEGATIVES, QUERY, SCHEMA, SCORES
from tempembed.data.kept_rows import filtered, over_parts, repeated
from tempembed.system.errors import UserError

KEY_BYTES = 16
_NOISE = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """The form in which texts are compared: case-folded words, without white space and punctuation.

    >>> normalise("Return  the Sum. ") == normalise("return the sum")
    True
    """
    return _NOISE.sub(" ", text.casefold()).strip()


def text_key(text: str) -> bytes:
    """16 bytes of the normalised text."""
    return hashlib.blake2b(normalise(text).encode("utf-8", "replace"), digest_size=KEY_BYTES).digest()


def holdout(
    table: pa.Table,
    num_test: int,
    *,
    seed: int = 0,
    instead: str = "test data of your own (--eval-data)",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[pa.Table, pa.Table]:
    """(train, test) of a table with `query`, `document` and maybe `hard_negatives`; no text, normalised, is on both sides.

    Rows of which a query, document or group is one of the other, directly or through others, form a component,
    and components go whole to one side, in the order of a hash of their content and the seed. One larger than a tenth
    of the test stays in training. Hard negatives that would be on both sides are left out, as `_without_shared` has it.

    Args:
        table: the pairs.
        num_test: the least number of rows to hold out.
        seed: decides which components are chosen.
        instead: what a user can give if the table has not enough.
        say: receives how many hard negatives were left out.

    Raises:
        UserError: the table has not enough independent rows.
    """
    num_rows = table.num_rows
    keys, draws = np.empty((2, num_rows), np.uint64), np.empty(num_rows, np.uint64)
    start = 0
    for own, drawn in over_parts(partial(_drawn_keys, seed), table.select([QUERY, DOCUMENT])):
        rows = slice(start, start + len(drawn))
        keys[:, rows], draws[rows], start = own, drawn, rows.stop
    groups = group_numbers(table)
    links = repeated(keys.reshape(-1)).reshape(keys.shape).any(axis=0)
    if groups is not None:
        links |= repeated(groups)
    alone, linked = np.flatnonzero(~links), np.flatnonzero(links)
    component = _components(keys[:, linked], None if groups is None else groups[linked])
    by_key = np.lexsort((keys[0, linked], component))
    starts = np.flatnonzero(np.diff(component[by_key], prepend=-1))
    sizes = np.append(np.ones(len(alone), np.int64), np.diff(starts, append=len(linked)))
    small = np.flatnonzero(sizes <= max(1, num_test // 10))
    order = small[_lowest(draws[np.append(alone, linked[by_key[starts]])[small]], num_test)]
    taken = np.append(0, np.cumsum(sizes[order]))
    chosen = order[: np.searchsorted(taken, num_test)]
    in_test = np.zeros(num_rows, bool)
    in_test[alone[chosen[chosen < len(alone)]]] = True
    in_test[linked[np.isin(component, chosen - len(alone))]] = True
    if in_test.sum() < num_test or in_test.all():
        raise UserError(
            f"expected enough pairs to hold out {num_test} that share no text with the rest, got {num_rows} pairs "
            f"of which {int(in_test.sum())} can be held out; give more data, or {instead}"
        )
    train, test = filtered(table, ~in_test), filtered(table, in_test)
    if HARD_NEGATIVES not in table.column_names:
        return train, test
    return _without_shared(train, test, (keys[:, ~in_test], keys[:, in_test]), say)


def _drawn_keys(seed: int, part: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [2, rows] keys of queries and documents; [rows] where a component is drawn of which the query has the least key."""
    salt = seed.to_bytes(8, "little", signed=True)
    queries = list(map(text_key, part[QUERY].to_pylist()))
    drawn = (hashlib.blake2b(salt + key, digest_size=KEY_BYTES).digest() for key in queries)
    return np.stack([_numbers(queries), _keys(part[DOCUMENT].to_pylist())]), _numbers(drawn)


def _keys(texts: Iterable[str]) -> np.ndarray:
    return _numbers(map(text_key, texts))


def _numbers(digests: Iterable[bytes]) -> np.ndarray:
    """uint64: the first half of each, ordered as they are. That two have the same joins components, and never parts one."""
    return np.frombuffer(b"".join(digests), ">u8")[::2].astype(np.uint64)


def _lowest(draws: np.ndarray, num: int) -> np.ndarray:
    """Places of the `num` lowest, in order."""
    places = np.argpartition(draws, num)[:num] if num < len(draws) else np.arange(len(draws))
    return places[np.lexsort((places, draws[places]))]


def group_numbers(table: pa.Table) -> np.ndarray | None:
    """int64 of each row: equal for rows of a group, unlike any other for a row of none; None where the data has no groups."""
    if GROUP not in table.column_names:
        return None
    codes = table[GROUP].combine_chunks().dictionary_encode().indices
    numbers = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)


def _components(keys: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The component of each row, from 0, by the keys of its texts, uint64 [2, rows], whatever their roles, and by its group."""
    from scipy.sparse import coo_array  # half a second, which only a hold-out needs
    from scipy.sparse.csgraph import connected_components

    distinct, codes = np.unique(keys, return_inverse=True)
    left, right = codes.reshape(keys.shape)
    begins, ends, size = left, right, len(distinct)
    if groups is not None:
        names, own = np.unique(groups, return_inverse=True)
        begins, ends, size = np.append(left, left), np.append(right, size + own), size + len(names)
    links = coo_array((np.ones(len(begins), bool), (begins, ends)), shape=(size, size))
    return connected_components(links, directed=False)[1][left]


def _without_shared(
    train: pa.Table, test: pa.Table, keys: tuple[np.ndarray, np.ndarray], say: Callable[[str], None]
) -> tuple[pa.Table, pa.Table]:
    """Both sides without hard negatives that are a query or document of the other; shared ones stay in the test."""
    of_train, of_test = (
        np.concatenate([np.empty(0, np.uint64), *over_parts(_negative_keys, part.select([HARD_NEGATIVES]))])
        for part in (train, test)
    )
    kept_of_test = ~np.isin(of_test, keys[0])
    kept_of_train = ~np.isin(of_train, np.concatenate([keys[1].reshape(-1), of_test[kept_of_test]]))
    for side, kept in (("training", kept_of_train), ("the test", kept_of_test)):
        if num := int((~kept).sum()):
            say(f"left out {num} of {len(kept)} hard negatives of {side}: the other side has their texts too")
    return _keep(train, kept_of_train), _keep(test, kept_of_test)


def _negative_keys(part: pa.Table) -> np.ndarray:
    return _keys(text for texts in part[HARD_NEGATIVES].to_pylist() for text in texts or ())


def _keep(table: pa.Table, kept: np.ndarray) -> pa.Table:
    """The table with these of its hard negatives, all in one row."""
    if kept.all():
        return table
    lists = table[HARD_NEGATIVES].combine_chunks()
    ends = np.cumsum(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False))
    offsets = np.append(0, np.cumsum(kept))[np.append(0, ends)].astype(np.int32)
    items = lists.flatten().filter(pa.array(kept))
    if SCORES in table.column_names:
        rows = [
            own
            and [own[0], *(score for score, is_kept in zip(own[1:], kept[low:high], strict=True) if is_kept)]
            for own, low, high in zip(table[SCORES].to_pylist(), np.append(0, ends[:-1]), ends, strict=True)
        ]
        place = table.column_names.index(SCORES)
        table = table.set_column(place, SCORES, pa.array(rows, SCHEMA.field(SCORES).type))
    place = table.column_names.index(HARD_NEGATIVES)
    return table.set_column(place, HARD_NEGATIVES, pa.ListArray.from_arrays(pa.array(offsets), items))
