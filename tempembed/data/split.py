"""Hold out test pairs that share no text with a training pair."""

import hashlib
import re

import numpy as np
import pyarrow as pa

from tempembed.errors import UserError

_NOISE = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """The form in which texts are compared: case-folded words; white space and punctuation do not count.

    >>> normalise("Return  the Sum. ") == normalise("return the sum")
    True
    """
    return _NOISE.sub(" ", text.casefold()).strip()


def text_key(text: str) -> bytes:
    """16 bytes of the normalised text."""
    return hashlib.blake2b(normalise(text).encode("utf-8", "replace"), digest_size=16).digest()


def holdout(table: pa.Table, num_test: int, *, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """(train, test) of a table with `query` and `document`; no normalised text stands on both sides.

    Rows that share a text, directly or through others, form a component, and components go whole to one side,
    in the order of a hash of their content and the seed. One larger than a tenth of the test stays in training.

    Raises:
        UserError: the table has not enough independent rows.
    """
    num_rows = table.num_rows
    parent = list(range(num_rows))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    keys: list[bytes] = []
    for column in ("query", "document"):
        first: dict[bytes, int] = {}
        for row, text in enumerate(table[column].to_pylist()):
            key = text_key(text)
            if column == "query":
                keys.append(key)
            other = root(first.setdefault(key, row))
            mine = root(row)
            parent[max(other, mine)] = min(other, mine)
    components: dict[int, list[int]] = {}
    for row in range(num_rows):
        components.setdefault(root(row), []).append(row)
    salt = seed.to_bytes(8, "little", signed=True)
    order = sorted(
        (hashlib.blake2b(salt + min(keys[row] for row in rows), digest_size=16).digest(), rows)
        for rows in components.values()
        if len(rows) <= max(1, num_test // 10)
    )
    in_test, taken = np.zeros(num_rows, bool), 0
    for _, rows in order:
        if taken >= num_test:
            break
        in_test[rows] = True
        taken += len(rows)
    if in_test.sum() < num_test or in_test.all():
        raise UserError(
            f"expected enough pairs to hold out {num_test} that share no text with the rest, got {num_rows} pairs "
            f"of which {int(in_test.sum())} can be held out; give more data, or test data of your own (--eval-data)"
        )
    return table.filter(pa.array(~in_test)), table.filter(pa.array(in_test))
