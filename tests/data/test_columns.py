import pyarrow as pa
import pytest

from tempembed.data.bad_rows import BadRow
from tempembed.data.columns import Columns, arrow_columns, find_columns
from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError

NONE = dict(hard_negatives=None, negatives=(), label=None)
OURS = dict(query="query", document="document")
THEIRS = dict(query="anchor", document="positive")
ALL = (
    "expected columns 'query' and 'document' (or 'anchor' and 'positive'), optionally 'hard_negatives' or "
    "'negative_1', 'negative_2', ... and 'label', got "
)


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("query document", {**OURS, **NONE}),
        ("anchor positive", {**THEIRS, **NONE}),
        ("query positive", {**NONE, "query": "query", "document": "positive"}),
        ("url document Label QUERY query", {**OURS, **NONE}),
        ("label document query", {**OURS, **NONE, "label": "label"}),
        ("query document hard_negatives", {**OURS, **NONE, "hard_negatives": "hard_negatives"}),
        ("anchor positive negative", {**THEIRS, **NONE, "negatives": ("negative",)}),
        (
            "negative_10 query negative_2 document negative_0",
            {**OURS, **NONE, "negatives": ("negative_0", "negative_2", "negative_10")},
        ),
        ("query document negatives", {**OURS, **NONE, "hard_negatives": "negatives"}),
        ("query document negative_x negative_ Negative_1 negative_1_", {**OURS, **NONE}),
        ("query document negative_" + "1" * 5000, {**OURS, **NONE}),
    ],
)
def test_every_spelling(names, columns):
    found = find_columns(names.split(), [])
    assert found == Columns(**columns)
    assert set(found.names) <= set(names.split())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", ALL + "no 'query' and no 'document' among none: rename the columns"),
        ("query", ALL + "no 'document' among 'query': rename the columns"),
        ("ask reply", ALL + "no 'query' and no 'document' among 'ask', 'reply': rename 'ask' to 'query' and "
         "'reply' to 'document'"),
        ("query text", ALL + "no 'document' among 'query', 'text': rename 'text' to 'document'"),
        ("text positive", ALL + "no 'query' among 'text', 'positive': rename 'text' to 'query'"),
        ("a b c", ALL + "no 'query' and no 'document' among 'a', 'b', 'c': rename the columns"),
        ("a b c d e f g h i j k", ALL + "no 'query' and no 'document' among 'a', 'b', 'c', 'd', 'e', 'f', "
         "'g', 'h', 'i', 'j', ...: rename the columns"),
        ("query document query", "expected each column once, got 'query' more than once: rename one"),
        ("query x document x", "expected each column once, got 'x' more than once: rename one"),
        ("query anchor document", "expected one of 'query', 'anchor', got both 'query' and 'anchor': remove "
         "or rename one"),
        ("query document positive", "expected one of 'document', 'positive', got both 'document' and "
         "'positive': remove or rename one"),
        ("query document negative negative_3", "expected one of 'hard_negatives', 'negative', 'negative_3', "
         "got both 'negative' and 'negative_3': remove or rename one"),
        ("query document hard_negatives negative", "expected one of 'hard_negatives', 'negative', got both "
         "'hard_negatives' and 'negative': remove or rename one"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit(put, names, message):
    names = names.split()
    with pytest.raises(BadRow) as bad:
        find_columns(names, names)
    assert (bad.value.message, bad.value.reason) == (message, "wrong columns")
    if names:  # the same in a file, where leaving out rows cannot help
        path = put("x.csv", ",".join(names) + "\n" + ",".join(names) + "\n")
        with pytest.raises(UserError) as error:
            read_pairs(path, skip_bad_rows=True)
        assert str(error.value) == f"{path}: {message}"


def test_json_lines_state_their_columns_row_by_row(put):
    path = put(
        "x.jsonl",
        '{"query": "q1", "document": "d1", "negative": "n1"}\n'
        '{"positive": "d2", "anchor": "q2", "hard_negatives": ["n2"], "url": 7}\n'
        '{"query": "q3", "anchor": "q3", "document": "d3"}\n'
        '{"query": "q4", "document": "d4"}\n',
    )
    with pytest.raises(
        UserError, match=r"x\.jsonl, row 3 \(line 3\): expected one of 'query', 'anchor', got"
    ):
        read_pairs(path)
    pairs = read_pairs(path, skip_bad_rows=True)
    assert (pairs.queries, pairs.documents) == (["q1", "q2", "q4"], ["d1", "d2", "d4"])
    assert pairs.hard_negatives == [["n1"], ["n2"], []]
    assert pairs.skip_reasons == {"wrong columns": 1}


def test_parquet_may_hold_a_column_twice(put):
    texts = pa.array(["a", "b"])
    path = put("x.parquet", pa.Table.from_arrays([texts] * 3, ["query", "document", "query"]))
    with pytest.raises(UserError, match="expected each column once, got 'query' more than once: rename one"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        ("document", pa.string()),
        ("document", pa.string_view()),
        ("document", pa.dictionary(pa.int32(), pa.string())),
        ("document", pa.null()),
        ("label", pa.int8()),
        ("label", pa.float64()),
        ("label", pa.bool_()),
        ("label", pa.date32()),
        ("document", pa.struct({"text": pa.string()})),
        ("negative_1", pa.list_(pa.string())),
        ("negative_1", pa.large_string()),
        ("hard_negatives", pa.list_(pa.string())),
        ("hard_negatives", pa.large_list(pa.large_string())),
        ("hard_negatives", pa.list_(pa.string(), 2)),
        ("hard_negatives", pa.list_(pa.null())),
    ],
)
def test_types_that_fit(column, type_):
    schema = pa.schema({"query": pa.string(), "document": pa.string()} | {column: type_})
    assert column in arrow_columns(schema, "x.parquet").names


@pytest.mark.parametrize(
    ("column", "type_", "expected"),
    [
        ("query", pa.int64(), "text"),
        ("document", pa.list_(pa.string()), "text"),
        ("document", pa.struct({"body": pa.string()}), "text"),
        ("negative", pa.list_(pa.int64()), "text"),
        ("hard_negatives", pa.string(), "lists of text"),
        ("hard_negatives", pa.list_(pa.int64()), "lists of text"),
        ("hard_negatives", pa.list_(pa.list_(pa.string())), "lists of text"),
        ("label", pa.list_(pa.string()), "text or numbers"),
        ("label", pa.binary(), "text or numbers"),
    ],
)
def test_types_that_do_not_fit(column, type_, expected):
    schema = pa.schema({"query": pa.string(), "document": pa.string()} | {column: type_})
    with pytest.raises(UserError) as error:
        arrow_columns(schema, "x.parquet")
    assert str(error.value) == (
        f"x.parquet, column {column!r}: expected {expected} in every row, got {type_} from row 1 on: "
        f"write the column as {expected}, or rename it if it is something else"
    )


def test_a_wrong_type_is_not_a_matter_of_rows(put):
    path = put("x.parquet", [{"query": 1, "document": "a"}, {"query": 2, "document": "b"}])
    with pytest.raises(
        UserError, match="column 'query': expected text in every row, got int64 from row 1 on"
    ):
        read_pairs(path, skip_bad_rows=True)
