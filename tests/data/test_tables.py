"""Tables of text: quotes in TSV, packed files, encodings, separators; the same for pairs, texts and tasks."""

import csv
import gzip
import io
import json
import shutil

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import read_pairs
from tempembed.data.records import kind_of, open_table
from tempembed.data.texts import open_texts
from tempembed.evaluation.folder import read_folder
from tempembed.system.errors import UserError


def tsv(*rows):
    return "".join("\t".join(row) + "\n" for row in (("query", "document"), *rows))


@pytest.fixture
def documents(put):
    """The documents of a .tsv of pairs."""
    return lambda content: read_pairs(put("x.tsv", content)).documents


QUOTED_BY_HAND = [
    ('an inch is 2.54 cm, 5" are more', 'a 19" rack'),
    ("it's", "'single' quotes"),
    ('"opens and goes on', "next"),
    ('ends with a "', "next"),
    ('"Hello"', '"Hello" she said'),
    ('"', '""x'),
    ('"a" and "b"', 'say "hi" now'),
    ('"opens', 'closes"'),
    ('"opens', "between", 'closes" and goes on'),
]


@pytest.mark.parametrize("found", QUOTED_BY_HAND)
def test_quotes_by_hand_are_characters(documents, found):
    """An opening quote took the lines up to the next quote as one cell."""
    assert documents(tsv(*((f"q{i}", text) for i, text in enumerate(found)))) == list(found)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_opening_quote_takes_no_lines(documents, end):
    rows = [("q1", '"open'), ("q2", "two"), ("q3", "three"), ("q4", 'close"'), ("q5", "five")]
    assert documents(tsv(*rows).replace("\n", end)) == [text for _, text in rows]


def test_cells_that_csv_quoted_lose_their_quotes(documents):
    assert documents(tsv(("a", '"say ""hi"""'), ("b", '"open'), ("c", '"Hello"'))) == [
        'say "hi"',
        '"open',
        '"Hello"',
    ]


TEXTS = [
    'say "hi"',
    "a\tb",
    "a\nb",
    "a\r\nb\rc",
    '"',
    '""',
    '"all"',
    "def f():\n\treturn 1",
    "x",
    " y ",
    "\t",
    'q"\n"',
]


def written_by_csv(rows, **how):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", **how).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize(
    "how", [{}, {"quoting": csv.QUOTE_ALL}, {"quoting": csv.QUOTE_NONNUMERIC}, {"lineterminator": "\n"}]
)
@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS[1:3], TEXTS[4:7], TEXTS[7:9], TEXTS])
def test_what_pythons_csv_wrote(documents, texts, how):
    texts = ["plain", *(text for text in texts if text.strip())]
    rows = [("query", "document"), *((f"q{i}", text) for i, text in enumerate(texts))]
    assert documents(written_by_csv(rows, **how)) == texts


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_pandas_wrote(documents, quoting):
    texts = ["plain", *(text for text in TEXTS if text.strip())]
    frame = pandas.DataFrame({"query": [f"q{i}" for i in range(len(texts))], "document": texts})
    assert documents(frame.to_csv(sep="\t", index=False, quoting=quoting)) == texts


def test_what_pandas_wrote_without_quotes(documents):
    texts = ['"open', "it's", 'close"', '5" disk']
    frame = pandas.DataFrame({"query": [f"q{i}" for i in range(4)], "document": texts})
    assert documents(frame.to_csv(sep="\t", index=False, quoting=csv.QUOTE_NONE)) == texts


def test_a_tsv_with_a_bad_line_keeps_the_others(put):
    path = put("x.tsv", tsv(("q1", '"open'), ("q2",), ("q3", 'close"'), ("q4", "four"), ("q5", "a", "b")))
    with pytest.raises(UserError, match=r"row 2 \(line 3\): expected 2 cells as in the header, got 1"):
        read_pairs(path)
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.documents == ['"open', 'close"', "four"]
    assert pairs.skip_reasons == {"wrong number of cells": 2}


def test_rows_of_tsv_are_counted_by_lines(put):
    with pytest.raises(
        UserError, match=r"row 3 \(line 5\), column 'document': expected text, got '' \(empty\)"
    ):
        read_pairs(put("x.tsv", tsv(("a", '"b'), ("c", 'd"')) + "\n" + "e\t\n"))


def test_one_column_of_a_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text('text\n"open\nclose" and on\n"Hello"\n')
    assert list(open_texts(str(tmp_path / "a.tsv")).chunks()) == [['"open', 'close" and on', '"Hello"']]
    (tmp_path / "b.tsv").write_text(written_by_csv([["text"], ["two\nlines"], ['a "b"'], ["x"]]))
    assert list(open_texts(str(tmp_path / "b.tsv")).chunks()) == [["two\nlines", 'a "b"', "x"]]


@pytest.mark.parametrize(
    ("name", "content", "found", "ours"),
    [
        ("x.csv", "query;document\na;b\n", "semicolons", "commas"),
        ("x.csv", "query\tdocument\na, b\tc\n", "tabs", "commas"),
        ("x.csv", "query|document\na|b\n", "bars", "commas"),
        ("x.tsv", "query,document\na,b\n", "commas", "tabs"),
        ("x.tsv", "query;document\na;b\n", "semicolons", "tabs"),
        ("x.csv", '"query";"document"\n"a";"b"\n', "semicolons", "commas"),
    ],
)
def test_another_separator_is_suspected(put, name, content, found, ours):
    hint = f"the columns seem to be separated by {found}, not by {ours}: save the file with {ours}$"
    with pytest.raises(UserError, match=hint):
        read_pairs(put(name, content))
    with pytest.raises(UserError, match=hint):
        list(open_texts(put(name, content.replace("document", "text"))).chunks())


def test_another_separator_of_a_task_is_suspected(tmp_path):
    (tmp_path / "corpus.csv").write_text("_id;text\na;x\n")
    (tmp_path / "queries.csv").write_text("_id,text\nq,x\n")
    (tmp_path / "qrels.csv").write_text("query-id,corpus-id,score\nq,a,1\n")
    with pytest.raises(UserError, match="seem to be separated by semicolons, not by commas"):
        read_folder(tmp_path)


def test_other_columns_name_no_separator(put):
    with pytest.raises(UserError) as error:
        read_pairs(put("x.csv", "one;two,three\na,b\n"))
    assert "seem to be" not in str(error.value)


# Encodings

LATIN1 = "query,document\nq1,d1\nq2,Größe\nq3,d3\n"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.csv.gz"])
def test_utf16_with_and_without_its_mark(put, name, encoding):
    content = (tsv(("q", "d")) if "tsv" in name else LATIN1).encode(encoding)
    path = put(name, gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(UserError, match="expected UTF-8 text, got UTF-16: save it again as UTF-8"):
        read_pairs(path, skip_bad_rows=True)


@pytest.mark.parametrize("name", ["corpus.tsv", "queries.jsonl", "qrels.tsv", "qrels.txt"])
def test_utf16_in_a_task(tmp_path, name):
    files = {"corpus.tsv": "_id\ttext\na\tx\n", "queries.jsonl": '{"_id": "q", "text": "x"}\n',
             "qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\t1\n", "qrels.txt": "q 0 a 1\n"}  # fmt: skip
    del files["qrels.txt" if name == "qrels.tsv" else "qrels.tsv"]
    for each, content in files.items():
        (tmp_path / each).write_bytes(content.encode("utf-16-le" if each == name else "utf-8"))
    with pytest.raises(UserError, match=rf"{name}: expected UTF-8 text, got UTF-16: save it again"):
        read_folder(tmp_path)


def test_utf16_texts_without_a_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    with pytest.raises(UserError, match="expected UTF-8 text, got UTF-16"):
        open_texts(str(tmp_path / "a.txt"))


def test_text_with_some_nul_bytes_is_no_utf16(put):
    assert read_pairs(put("x.csv", "query,document\nq,a\0b\0c\n")).documents == ["a\0b\0c"]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_latin1_is_said(put, name):
    path = put(name, (LATIN1.replace(",", "\t") if name == "x.tsv" else LATIN1).encode("latin-1"))
    with pytest.raises(UserError, match=r"row 2 \(line 3\), column 'document': expected UTF-8, got byte 0xf6 after 2 "
                       r"characters: save the data as UTF-8 \(in Latin-1 this byte is 'ö'\)"):  # fmt: skip
        read_pairs(path)
    assert read_pairs(path, skip_bad_rows=True).queries == ["q1", "q3"]


def test_latin1_in_a_task(tmp_path):
    (tmp_path / "corpus.tsv").write_bytes("_id\ttext\na\tGröße\nb\tx\n".encode("latin-1"))
    (tmp_path / "queries.tsv").write_text("_id\ttext\nq\tx\n")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tb\t1\n")
    with pytest.raises(
        UserError,
        match=r"line 2: row 1, column text: expected UTF-8, got byte 0xf6 .* in Latin-1|\(in Latin-1 this byte is 'ö'\)",
    ):
        read_folder(tmp_path)
    said = []
    (task,) = read_folder(tmp_path, skip_bad_rows=True, say=said.append)
    assert task.columns["corpus"]["id"] == ["b"]
    assert "left out 1 bad rows: 1 x invalid UTF-8" in said[-1]


def test_a_windows_byte_is_said(put):
    with pytest.raises(
        UserError, match=r"byte 0x93 at byte \d+ of the line: save the file as UTF-8 \(it may be Windows"
    ):
        read_pairs(put("x.jsonl", b'{"query": "\x93", "document": "d"}\n'))


# Packed files

ROWS = [{"query": "q1", "document": "d, 1"}, {"query": "q2", "document": "größe"}]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.ndjson", "x.json", "x.parquet", "X.CSV"])
def test_packed_pairs(put, tmp_path, name):
    plain = put(name, ROWS)
    packed = put(f"{name}.gz", gzip.compress((tmp_path / name).read_bytes()))
    assert read_pairs(packed).documents == ["d, 1", "größe"]
    assert read_pairs(packed).fingerprint == read_pairs(plain).fingerprint
    (tmp_path / name).unlink()
    assert read_pairs(str(tmp_path)).queries == ["q1", "q2"]  # as a file of a folder


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
def test_packed_texts(tmp_path, name):
    content = {
        "a.txt": b"one\ntwo\n",
        "a.jsonl": b'{"text": "one"}\n{"text": "two"}\n',
        "a.csv": b"text\none\ntwo\n",
    }
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"]}), sink)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.get(name) or sink.getvalue()))
    assert list(open_texts(str(tmp_path / f"{name}.gz")).chunks()) == [["one", "two"]]


def test_a_packed_task(tmp_path):
    files = {"corpus.jsonl": '{"_id": "a", "text": "x"}', "queries.jsonl": '{"_id": "q", "text": "z"}',
             "qrels.tsv": "query-id\tcorpus-id\tscore\nq\ta\t1"}  # fmt: skip
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    (task,) = read_folder(tmp_path)
    assert (task.columns["corpus"]["id"], task.relevant) == (["a"], {"q": {"a": 1}})


@pytest.mark.parametrize(
    "damage", [lambda c: c[:40], lambda c: c[:60] + b"\0\0\0" + c[63:], lambda c: c[:-8] + b"x" * 8]
)
@pytest.mark.parametrize("name", ["x.csv.gz", "x.jsonl.gz", "x.parquet.gz"])
def test_a_packed_file_that_is_damaged(put, tmp_path, name, damage):
    rows = [{"query": f"q{i * i}", "document": f"d{i}"} for i in range(100)]
    put(name.removesuffix(".gz"), rows)
    content = gzip.compress((tmp_path / name.removesuffix(".gz")).read_bytes())
    with pytest.raises(
        UserError, match=rf"{name}: expected a whole gzip file, it is damaged, cut off or something else"
    ):
        read_pairs(put(name, damage(content)), skip_bad_rows=True)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_packed_file_does_not_unpack_without_bound(tmp_path, name, monkeypatch):
    monkeypatch.setattr("tempembed.data.bounds.UNPACKED_BYTES", 10**6)
    monkeypatch.setattr("tempembed.data.bounds.RATIO", 10)
    with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
        file.write(b"" if name == "x.jsonl" else b"query,document\n")
        row = b'{"query": "%d", "document": "%s"}\n' if name == "x.jsonl" else b"%d,%s\n"
        for i in range(2000):
            file.write(row % (i, b"x" * 1000))
    with pytest.raises(UserError, match=rf"{name}.gz: expected data of at most .* GB"):
        read_pairs(str(tmp_path / f"{name}.gz"))


def test_nothing_is_left_of_a_packed_parquet(tmp_path, put, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    put("x.parquet", ROWS)
    with (tmp_path / "x.parquet").open("rb") as file, gzip.open(tmp_path / "x.parquet.gz", "wb") as packed:
        shutil.copyfileobj(file, packed)
    assert len(read_pairs(str(tmp_path / "x.parquet.gz"))) == 2
    assert not list((tmp_path / "temporary").iterdir())


# The reader itself


def test_every_cell_is_text(tmp_path):
    cells = ["1", "01", "1.10", "1e5", "true", "2021-03-04", "12345678901234567890", "NaN", "null", "", " x "]
    names = [f"c{i}" for i in range(len(cells))]
    for name, comma in (("a.csv", ","), ("a.tsv", "\t")):
        (tmp_path / name).write_text(comma.join(names) + "\n" + comma.join(cells) + "\n")
        with open_table(tmp_path / name, kept=True) as table:
            assert list(table.rows(names)) == [(1, 2, dict(zip(names, cells, strict=True)))]


def test_values_of_json_and_parquet_come_as_they_are(tmp_path):
    values = {"a": 1, "b": [1.5, "x"], "c": None, "d": {"e": True}}
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps(values) + "\n")
    with open_table(tmp_path / "a.jsonl", kept=True) as table:
        assert (table.names, list(table.rows(()))) == (None, [(1, 2, values)])
    pq.write_table(pa.table({"a": [1, 2], "b": [["x"], None], "c": ["y", "z"]}), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet", kept=True) as table:
        assert table.names == ["a", "b", "c"]
        assert list(table.rows(["b", "a"])) == [(1, 0, {"b": ["x"], "a": 1}), (2, 0, {"b": None, "a": 2})]


def test_kinds_of_files(tmp_path):
    names = ["a.csv", "a.CSV", "a.csv.gz", "a.Jsonl.GZ", "a.gz", "a", "a.b.tsv", "gz"]
    assert [kind_of(tmp_path / name) for name in names] == [
        ".csv", ".csv", ".csv", ".jsonl", "", "", ".tsv", ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("1.1", "1.1"),
        ("1.10", "1.10"),
        ("01067", "01067"),
        ("true", "true"),
        ("1e5", "1e5"),
        ("2021-03-04", "2021-03-04"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_labels_of_pairs_in_tables_are_text(put, name, cell, label):
    rows = [{"query": "q1", "document": "d1", "label": cell}, {"query": "q2", "document": "d2", "label": "x"}]
    assert read_pairs(put(name, rows)).labels == [label, "x"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, "1"),
        (1.1, "1.1"),
        (1.0, "1"),
        (1e20, "1e+20"),
        (True, "true"),
        (10**20, str(10**20)),
        ("1.10", "1.10"),
    ],
)
def test_labels_of_json_become_text_by_one_rule(put, value, label):
    rows = [
        {"query": "q1", "document": "d1", "label": value},
        {"query": "q2", "document": "d2", "label": "x"},
    ]
    assert read_pairs(put("x.jsonl", rows)).labels == [label, "x"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (pa.array([1.0, 1.5]), ["1", "1.5"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([18690, 18691], pa.date32()), ["2021-03-04", "2021-03-05"]),
        (pa.array(["01", "1"]), ["01", "1"]),
        (pa.array([2**63, 1], pa.uint64()), [str(2**63), "1"]),
    ],
)
def test_labels_of_parquet_become_text_by_the_same_rule(put, values, labels):
    table = pa.table({"query": ["q1", "q2"], "document": ["d1", "d2"], "label": values})
    assert read_pairs(put("x.parquet", table)).labels == labels
