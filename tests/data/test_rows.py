"""Which rows are good, which are not and why; the same in every format."""

import json

import pyarrow as pa
import pytest

from tempembed.data import rows as rows_module
from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError
from tempembed.system.wording import quoted, shown

GOOD = [{"query": f"good {i}", "document": f"text {i}"} for i in range(3)]
HINT = ", or pass --skip-bad-rows to leave such rows out"
WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))


@pytest.fixture
def one_bad(put):
    """Expect that the row between good ones is told with its place, and that it can be left out."""

    def check(name, content, place, message, reason, good=("good 0", "good 1")):
        path = put(name, content)
        with pytest.raises(UserError) as error:
            read_pairs(path)
        assert str(error.value) == f"{path}, {place}: {message}{HINT}"
        pairs = read_pairs(path, skip_bad_rows=True)
        assert (pairs.queries, pairs.skip_reasons, pairs.num_skipped) == (list(good), {reason: 1}, 1)

    return check


EMPTY = "expected text, got %s (empty): fill it in"
LISTS = (
    'expected a list of texts (in CSV as JSON in one cell), got %s: write ["first", "second"]',
    "wrong type in hard_negatives",
)


@pytest.mark.parametrize(
    ("bad", "column", "message", "reason"),
    [
        ({"query": ""}, "query", EMPTY % "''", "empty text in query"),
        ({"document": "  \n"}, "document", EMPTY % r"'  \n'", "empty text in document"),
        ({"document": "\u3000\x85"}, "document", EMPTY % r"'\u3000\x85'", "empty text in document"),
        ({"query": None}, "query", "expected text, got nothing (null): fill it in", "missing text in query"),
        ({"query": 3}, "query", "expected text, got 3 (number): write it as text", "wrong type in query"),
        ({"query": float("nan")}, "query", "expected text, got nan (number): write it as text",
         "wrong type in query"),
        ({"query": True}, "query", "expected text, got True (true/false): write it as text",
         "wrong type in query"),
        ({"document": {"body": "d"}}, "document", "expected text, got {'body': 'd'} (object): write it as "
         "text", "wrong type in document"),
        ({"document": ["x" * 99]}, "document", "expected text, got ['" + "x" * 55 + "... (list): write it "
         "as text", "wrong type in document"),
        ({"query": "ab\ud800"}, "query", "expected UTF-8, got half a character (U+D800) after 2 characters: "
         "save the data as UTF-8", "invalid UTF-8 in query"),
        ({"label": {"a": 1}}, "label", "expected text or a whole number, got {'a': 1} (object): write it as text",
         "wrong type in label"),
        ({"label": ["x"]}, "label", "expected text or a whole number, got ['x'] (list): write it as text",
         "wrong type in label"),
        ({"label": " "}, "label", "expected a label, as other rows have, got none: fill it in",
         "missing label in label"),
        ({"label": None}, "label", "expected a label, as other rows have, got none: fill it in",
         "missing label in label"),
        ({"negative_2": 7}, "negative_2", "expected text, got 7 (number): write it as text",
         "wrong type in negative_2"),
        ({"negative": ["x", 3]}, "negative", "expected text as item 2 of the list, got 3 (number): write it as text",
         "wrong type in negative"),
        ({"hard_negatives": "x"}, "hard_negatives", LISTS[0] % "'x'", LISTS[1]),
        ({"hard_negatives": {"a": "x"}}, "hard_negatives", LISTS[0] % "{'a': 'x'} (object)", LISTS[1]),
        ({"hard_negatives": ["x", None]}, "hard_negatives", "expected text as item 2 of the list, got nothing "
         "(null): fill it in", "missing text in hard_negatives"),
        ({"hard_negatives": [" "]}, "hard_negatives", "expected text as item 1 of the list, got ' ' (empty): "
         "fill it in", "empty text in hard_negatives"),
        ({"hard_negatives": ["x", ["y"]]}, "hard_negatives", "expected text as item 2 of the list, got "
         "['y'] (list): write it as text", "wrong type in hard_negatives"),
    ],
)  # fmt: skip
def test_bad_rows_of_json_lines(one_bad, bad, column, message, reason):
    first, middle, last = ({**row, "label": "x"} for row in (GOOD[0], GOOD[2], GOOD[1]))
    lines = "".join(json.dumps(row) + "\n" for row in (first, {**middle, **bad}, last))
    one_bad("x.jsonl", lines, f"row 2 (line 2), column {column!r}", message, reason)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("x", "'x'"),
        ("5", "5 (number)"),
        ("true", "True (true/false)"),
        ('"{""a"": 1}"', "{'a': 1} (object)"),
        ('"[""x"", "', """'["x", '"""),
        (' "[""x""]"', """' "[""x""]"'"""),  # a quote after a space is text to CSV
        ("[" * 5000, "'" + "[" * 56 + "..."),
    ],
)
def test_cells_that_are_no_list(one_bad, cell, found):
    content = f"query,document,hard_negatives\ngood 0,d,\na,b,{cell}\ngood 1,d,[]\n"
    one_bad("x.csv", content, "row 2 (line 3), column 'hard_negatives'", LISTS[0] % found, LISTS[1])


@pytest.mark.parametrize(
    ("cell", "negatives"),
    [
        ("", []),
        ("  ", []),
        ("null", []),
        ("[]", []),
        ('"[""x, y"", ""größe\\n""]"', ["x, y", "größe\n"]),
    ],
)
def test_lists_in_cells(put, cell, negatives):
    path = put("x.csv", f'query,document,hard_negatives\na,b,"[""n""]"\nc,d,{cell}\n')
    assert read_pairs(path).hard_negatives == [["n"], negatives]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("q", "expected 2 cells as in the header, got 1, the first 'q'"),
        ("q,d,e", "expected 2 cells as in the header, got 3, the first 'q'"),
        ('""', "expected 2 cells as in the header, got 1, the first ''"),
        (" ", "expected 2 cells as in the header, got 1, the first ' '"),
    ],
)
def test_wrong_number_of_cells(one_bad, cells, message):
    content = f"query,document\ngood 0,d\n{cells}\ngood 1,d\n"
    todo = ": quote cells that hold the separator"
    one_bad("x.csv", content, "row 2 (line 3)", message + todo, "wrong number of cells")


@pytest.mark.parametrize("value", [None, "", " \t\u2003"])
@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv"])
def test_null_and_blank_are_judged_alike(put, name, value):
    full = {"query": "q", "document": "d", "negative_1": "n", "negative_2": "m", "label": "l"}
    bad = [{**full, "query": value}, {**full, "document": value}, {**full, "label": value}]
    fine = {**full, "query": "q2", "negative_1": value}
    pairs = read_pairs(put(name, [full, *bad, fine]), skip_bad_rows=True)
    kind = "missing" if value is None and name in ("x.parquet", "x.jsonl") else "empty"
    reasons = {f"{kind} text in query": 1, f"{kind} text in document": 1, "missing label in label": 1}
    assert (pairs.hard_negatives, pairs.skip_reasons) == ([["n", "m"], ["m"]], reasons)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv"])
def test_white_space_is_what_python_says(put, name):
    """Arrow's short cut and Python's `strip` must agree, or a row's fate would hang on its neighbours."""
    assert len(WHITE_SPACE) == 29
    blank = [{"query": space, "document": "d"} for space in WHITE_SPACE]
    text = [{"query": f"{c}", "document": "d"} for c in "\u200b\ufeff\u2060\x00"]  # invisible, yet not space
    pairs = read_pairs(put(name, [*GOOD, *blank, *text]), skip_bad_rows=True)
    assert pairs.queries == [row["query"] for row in [*GOOD, *text]]
    assert pairs.skip_reasons == {"empty text in query": 29}
    alone = read_pairs(put(name, [*GOOD, *text]))  # without bad rows: the short cut
    assert alone.fingerprint == pairs.fingerprint


TYPES = [
    pa.list_(pa.string()),
    pa.large_list(pa.large_string()),
    pa.list_(pa.string_view()),
    pa.list_(pa.dictionary(pa.int32(), pa.string())),
]


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_lists_of_any_arrow_type(put, type_, broken):
    values = [["x"], None, [], ["y", "größe"], *([["z", ""]] if broken else [])]
    if pa.types.is_dictionary(type_.value_type):  # what pandas makes of categories
        flat = pa.array([v for value in values for v in value or []]).dictionary_encode()
        offsets = pa.array([0, None, 1, 1, 3, *([5] if broken else [])], pa.int32())
        lists = pa.ListArray.from_arrays(offsets, flat)
    else:
        lists = pa.array(values, type_)
    names = [str(i) for i in range(len(values))]
    path = put("x.parquet", pa.table({"query": names, "document": names, "hard_negatives": lists}))
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.hard_negatives == [["x"], [], [], ["y", "größe"]]
    assert pairs.num_skipped == broken


@pytest.mark.parametrize("type_", [pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_text_of_any_arrow_type(put, type_):
    def texts(*values):
        plain = pa.array(values, pa.string())
        return plain.dictionary_encode() if pa.types.is_dictionary(type_) else plain.cast(type_)

    table = pa.table({name: texts("a", "größe", None, "c") for name in ("query", "document", "negative")})
    pairs = read_pairs(put("x.parquet", table), skip_bad_rows=True)
    assert (pairs.queries, pairs.hard_negatives) == (["a", "größe", "c"], [["a"], ["größe"], ["c"]])
    assert pairs.skip_reasons == {"missing text in query": 1}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv"])
def test_labels_of_only_some_rows(put, name, order):
    rows = [{**GOOD[0], "label": None}, {**GOOD[1], "label": "io"}, {**GOOD[2], "label": " math "}]
    path = put(name, [rows[i] for i in order])
    row = order.index(0) + 1
    line = {"x.parquet": "", "x.jsonl": rf" \(line {row}\)", "x.csv": rf" \(line {row + 1}\)"}[name]
    with pytest.raises(UserError, match=rf"row {row}{line}, column 'label': expected a label, as other rows"):
        read_pairs(path)
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.labels == ["io", " math "]  # kept as they are
    assert pairs.skip_reasons == {"missing label in label": 1}


@pytest.mark.parametrize(
    ("name", "labels"), [("x.parquet", [-1, 2]), ("x.jsonl", [-1, "2"]), ("x.csv", [-1, 2])]
)
def test_whole_numbers_are_labels(put, name, labels):
    rows = [{**row, "label": label} for row, label in zip(GOOD, labels, strict=False)]
    assert read_pairs(put(name, rows)).labels == ["-1", "2"]


@pytest.mark.parametrize("chunk_rows", [1, 4])
@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv"])
def test_order_and_numbers_do_not_depend_on_chunks(put, monkeypatch, name, chunk_rows):
    monkeypatch.setattr(rows_module, "PART_ROWS", chunk_rows)
    monkeypatch.setattr("tempembed.data.files.PART_ROWS", chunk_rows)
    rows = [{"query": f"q{i}", "document": "" if i in (5, 9) else "d", "label": "l"} for i in range(1, 12)]
    rows[6]["label"] = None
    path = put(name, rows)
    with pytest.raises(UserError, match=r"row 5[ ,].*'document': expected text, got '' \(empty\)"):
        read_pairs(path)
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.queries == [f"q{i}" for i in (1, 2, 3, 4, 6, 8, 10, 11)]
    assert pairs.skip_reasons == {"empty text in document": 2, "missing label in label": 1}
    rows[4]["document"] = rows[8]["document"] = "d"
    with pytest.raises(UserError, match=r"row 7[ ,].*'label'"):
        read_pairs(put(name, rows))


def test_every_bad_row_is_counted_once(put):
    row = {"query": "q", "document": "d", "label": "l"}
    lines = [
        *[json.dumps({**row, "query": f"q{i}"}) for i in range(4)],
        json.dumps({**row, "query": "", "document": "", "label": []}),  # the first fault counts
        json.dumps({**row, "document": ""}),
        json.dumps({**row, "document": ""}),
        json.dumps({**row, "document": 5}),
        json.dumps({"query": "q"}),
        json.dumps({"query": "no label", "document": "d"}),
        json.dumps({**row, "query": "q1"}),
        json.dumps({**row, "query": "q1", "label": "another"}),
        "{",
        "[]",
        '{"query": "q", "query": "p", "document": "d", "label": "l"}',
    ]
    path = put("x.jsonl", "\n".join(lines).encode() + b'\n{"query": "\xff"}\n')
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.queries == ["q0", "q1", "q2", "q3"]
    assert pairs.skip_reasons == {
        "empty text in query": 1,
        "empty text in document": 2,
        "wrong type in document": 1,
        "wrong columns": 1,
        "missing label in label": 1,
        "line that is not JSON": 1,
        "line that is not an object": 1,
        "doubled name": 1,
        "invalid UTF-8": 1,
        "duplicate pair": 2,
    }
    assert pairs.num_skipped == 12 == sum(pairs.skip_reasons.values())


def test_all_rows_bad(put):
    path = put("x.jsonl", '{"query": "", "document": "d"}\n7\n{"query": "", "document": "d"}\n')
    with pytest.raises(UserError) as error:
        read_pairs(path, skip_bad_rows=True)
    assert str(error.value) == (
        f"{path}: expected at least one good pair, but every row is bad (2 x empty text in query, 1 x line "
        f"that is not an object). The first: {path}, row 1 (line 1), column 'query': {EMPTY % repr('')}"
    )


def test_messages_stay_short():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "... (list)"
    assert shown("x" * 10**6) == "'" + "x" * 56 + "..."
    assert shown("a\nb") == r"'a\nb'"
    assert quoted(iter("abcdefghijk")) == "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', ..."


@pytest.mark.parametrize("depth", [400, 100_000])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_lists_in_lists_in_lists(put, name, depth):
    deep = "[" * depth + "]" * depth
    content = {
        "x.jsonl": f'{{"query": "a", "document": {deep}}}\n{{"query": "b", "document": "d"}}\n',
        "x.csv": f"query,document,hard_negatives\na,d,{deep}\nb,d,\n",
    }[name]
    pairs = read_pairs(put(name, content), skip_bad_rows=True)
    assert (pairs.queries, pairs.num_skipped) == (["b"], 1)
