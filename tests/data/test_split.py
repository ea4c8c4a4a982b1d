import pyarrow as pa
import pytest

from tempembed.data.split import holdout, normalise
from tempembed.system.errors import UserError


def table(pairs):
    return pa.table({"query": [q for q, _ in pairs], "document": [d for _, d in pairs]})


def texts(part):
    return {normalise(t) for name in ("query", "document") for t in part[name].to_pylist()}


def test_no_text_on_both_sides():
    pairs = [(f"query {i}", f"document {i}") for i in range(300)]
    pairs += [(f"Query  {i}!", f"another {i}") for i in range(100)]  # share the normalised query
    pairs += [(f"third {i}", f"ANOTHER {i}") for i in range(50)]  # chain: share a document with those
    train, test = holdout(table(pairs), 60)
    assert len(test) >= 60
    assert len(train) + len(test) == 450
    assert not texts(train) & texts(test)


def test_the_choice_depends_on_content_not_on_order():
    pairs = [(f"query {i}", f"document {i}") for i in range(200)]
    one = holdout(table(pairs), 20)[1].to_pylist()
    other = holdout(table(pairs[::-1]), 20)[1].to_pylist()
    key = str
    assert sorted(one, key=key) == sorted(other, key=key)
    assert sorted(one, key=key) != sorted(holdout(table(pairs), 20, seed=1)[1].to_pylist(), key=key)


def test_too_few():
    with pytest.raises(UserError, match="hold out 20"):
        holdout(table([("same", f"document {i}") for i in range(100)]), 20)
