"""Test pairs that share a text with training."""

import hashlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from tempembed.data.split import normalise
from tempembed.system.errors import UserError
from tempembed.system.wording import shown

_ROLES = {"query": "query", "document": "document", "hard_negatives": "hard negative"}
_CHUNK_ROWS = 65_536
_NUM_SHOWN = 3


def check_overlap(
    train: pa.Table,
    test: pa.Table,
    *,
    what: str,
    than: str = "the training data",
    allow: bool,
    say: Callable[[str], None],
) -> None:
    """Refuse test pairs that share a text with training in any role, or report them if that is allowed.

    Takes 8 bytes a text. Texts are compared as in `holdout`; texts without a letter or digit are compared as they are.

    Args:
        train: a table with query, document and perhaps hard_negatives.
        test: a table with the same columns.
        what: what the test data is called in the message.
        than: what the training data is called in it.
        allow: whether an overlap is only reported.
        say: receives the message.
    """
    keys = {role: (_keys(texts), owners) for role, texts, owners in _texts(test)}
    wanted = np.unique(np.concatenate([role_keys for role_keys, _ in keys.values()]))
    beginnings = np.unique(np.concatenate([_beginnings(texts) for _, texts, _ in _texts(test)]))
    found = np.zeros(len(wanted), bool)
    for start in range(0, len(train), _CHUNK_ROWS):
        for _, texts, _ in _texts(train.slice(start, _CHUNK_ROWS)):
            alike = np.flatnonzero(np.isin(_beginnings(texts), beginnings))
            found |= np.isin(wanted, _keys([texts[i] for i in alike]))
    shared = wanted[found]
    if not len(shared):
        return
    is_shared = np.zeros(len(test), bool)
    examples = []
    for role, (role_keys, owners) in keys.items():
        hits = np.flatnonzero(np.isin(role_keys, shared))
        is_shared[owners[hits]] = True
        column = test[role].combine_chunks()
        items = column.flatten() if role == "hard_negatives" else column
        examples += [f"{_ROLES[role]} {shown(items[int(hit)].as_py())}" for hit in hits[:_NUM_SHOWN]]
    message = (
        f"{what}: expected texts that {than} does not have, got {int(is_shared.sum())} of {len(test)} pairs "
        f"that share a text with it, as {', '.join(examples[:_NUM_SHOWN])}"
    )
    if not allow:
        raise UserError(f"{message}: take these pairs out of one of the two, or pass --allow-overlap")
    say(f"{message} (--allow-overlap)")


_BEGINNING = re.compile(r"[\W_]*([^\W_]+)" + 3 * r"(?:[\W_]+([^\W_]+))?")


def _texts(table: pa.Table) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """(role, its texts, the row of each text) of the roles that a table has."""
    for role in _ROLES:
        if role in table.column_names:
            column, owners = table[role].to_pylist(), np.arange(len(table))
            if role == "hard_negatives":
                owners = np.repeat(owners, [len(texts or ()) for texts in column])
                column = [text for texts in column for text in texts or ()]
            yield role, column, owners


def _keys(texts: list[str]) -> np.ndarray:
    """int64 of each normalised text; one without a letter or a number is taken as it is."""
    forms = (normalise(text) or f" {text.strip()}" for text in texts)
    digests = (hashlib.blake2b(form.encode("utf-8", "replace"), digest_size=8).digest() for form in forms)
    return np.frombuffer(b"".join(digests), np.int64)


def _beginnings(texts: list[str]) -> np.ndarray:
    """int64 of the first four words of each normalised text, which is a tenth of the work of all of them."""
    found = (_BEGINNING.match(text.casefold()) for text in texts)
    return np.fromiter((hash(match.groups()) if match else 0 for match in found), np.int64, len(texts))
