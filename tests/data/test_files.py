"""Files and other sources as users have them: odd, cut off, damaged or absent."""

import csv
import json
import re
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError

ROWS = [
    {
        "query": "open, the file",
        "document": "def f():\n\treturn 1",
        "hard_negatives": ["x", 'y "z"'],
        "label": "io",
    },
    {"query": 'sum of "all"', "document": "a\r\nb\rc\n", "hard_negatives": [], "label": "math"},
    {"query": "größe 😀", "document": " \x00\u2028 kept ", "hard_negatives": ["naïve\n"], "label": "math"},
]
PAIR = '{"query": "%s", "document": "%s"}\n'
HINT = ", or pass --skip-bad-rows to leave such rows out"


def fails(source, message, *, skip_bad_rows=False):
    with pytest.raises(UserError, match=message) as error:
        read_pairs(source, skip_bad_rows=skip_bad_rows)
    return str(error.value)


@pytest.mark.parametrize(
    "name", ["x.parquet", "x.jsonl", "x.ndjson", "x.json", "x.csv", "x.tsv", "X.PARQUET", "X.JsonL", "X.CSV"]
)
def test_every_format(put, name):
    pairs = read_pairs(put(name, ROWS))
    found = (pairs.queries, pairs.documents, pairs.hard_negatives, pairs.labels)
    assert found == tuple([row[column] for row in ROWS] for column in ROWS[0])
    assert (pairs.num_skipped, pairs.skip_reasons, len(pairs)) == (0, {}, 3)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json"])
def test_byte_order_marks(put, tmp_path, name):
    path = put(name, [{**row, "document": "\ufeff" + row["document"]} for row in ROWS])
    content = (tmp_path / name).read_bytes()
    put(name, b"\xef\xbb\xbf" + content)
    pairs = read_pairs(path)  # the mark of the file goes, those of the texts stay
    assert pairs.queries[0] == "open, the file"
    assert pairs.documents == ["\ufeff" + row["document"] for row in ROWS]
    for encoding in ("utf-16-le", "utf-16-be"):
        put(name, ("\ufeff" + content.decode()).encode(encoding))
        fails(path, rf"{name}: expected UTF-8 text, got UTF-16: save it again as UTF-8", skip_bad_rows=True)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines(put, end):
    table = f"query,document{end}q1,d1{end}{end}q2,d2"
    assert read_pairs(put("x.csv", table)).documents == ["d1", "d2"]
    assert read_pairs(put("y.csv", table + end)).documents == ["d1", "d2"]
    if end != "\r":
        lines = (PAIR % ("q1", "d1") + "\n" + PAIR % ("q2", "d2")).replace("\n", end)
        assert read_pairs(put("x.jsonl", lines)).documents == ["d1", "d2"]
        assert read_pairs(put("y.jsonl", lines.removesuffix(end))).documents == ["d1", "d2"]


def test_long_documents_in_csv(put):
    long = "a\n" * 100_000
    rows = [{"query": f"q{i}", "document": long + str(i)} for i in range(3)]
    before = csv.field_size_limit()
    assert read_pairs(put("x.csv", rows)).documents == [long + "0", long + "1", long + "2"]
    fails(put("x.csv", [*rows, {"query": "", "document": "d"}]), r"row 4 \(line 300005\), column 'query'")
    assert csv.field_size_limit() == before


def broken(*values):
    """Text that is not UTF-8, which Arrow lets through."""
    return pa.array(values, pa.binary()).view(pa.string())


NOT_UTF8 = [
    ("x.csv", b"query,document\nq,d\nab\xe9,e\nr,f\n", "row 2 (line 3), column 'query'", "byte 0xe9 after 2 characters"),
    ("x.csv", b'query,document,hard_negatives\nq,d,\np,e,"[""x"",""\xff""]"\nr,f,\n',
     "row 2 (line 3), column 'hard_negatives'", "byte 0xff after 0 characters"),
    ("x.tsv", b"label\tquery\tdocument\na\tq\td\n\xc3\tp\te\nb\tr\tf", "row 2 (line 3), column 'label'",
     "byte 0xc3 after 0 characters"),
    ("x.jsonl", PAIR.encode() % (b"q", b"d") + PAIR.encode() % (b"\xff", b"e") + PAIR.encode() % (b"r", b"f"),
     "row 2 (line 2)", "byte 0xff at byte 12 of the line"),
    ("x.parquet", pa.table({"query": broken(b"q", b"p", b"r"), "document": broken(b"d", b"g\xc3", b"f")}),
     "row 2, column 'document'", "byte 0xc3 after 1 characters"),
    ("x.parquet", pa.table({"query": ["q", "p", "r"], "document": ["d", "e", "f"], "hard_negatives":
     pa.ListArray.from_arrays(pa.array([0, 1, 2, 2], pa.int32()), broken(b"x", b"\x80"))}),
     "row 2, column 'hard_negatives'", "byte 0x80 after 0 characters"),
    ("x.parquet", pa.table({"query": ["q", "p", "r"], "document": ["d", "e", "f"],
     "label": broken(b"x", b"\x80", b"y")}), "row 2, column 'label'", "byte 0x80 after 0 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "place", "found"), NOT_UTF8)
def test_bytes_that_are_not_utf8(put, name, content, place, found):
    path = put(name, content)
    message = fails(path, re.escape(f"{path}, {place}: expected UTF-8"))
    assert f", got {found}: save the " in message
    pairs = read_pairs(path, skip_bad_rows=True)
    assert (pairs.queries, pairs.num_skipped) == (["q", "r"], 1)
    assert next(iter(pairs.skip_reasons)).startswith("invalid UTF-8")


def test_bytes_of_ignored_columns_do_not_matter(put):
    table = pa.table({"query": ["q", "r"], "document": ["d", "f"], "note": broken(b"\xff", b"")})
    assert read_pairs(put("x.parquet", table)).queries == ["q", "r"]
    assert read_pairs(put("x.csv", b"query,document,note\xff\nq,d,\xff\nr,f,\n")).queries == ["q", "r"]


@pytest.mark.parametrize("end", [4, 8, 0.5, 0.99, -1])
def test_parquet_that_is_cut_off(put, tmp_path, end):
    path = put("x.parquet", ROWS * 50)
    content = (tmp_path / "x.parquet").read_bytes()
    put("x.parquet", content[: end if isinstance(end, int) else int(end * len(content))])
    fails(
        path, "expected a whole Parquet file, got one that is cut off or damaged: write", skip_bad_rows=True
    )


def test_parquet_that_is_none(put):
    path = put("x.parquet", "query,document\nq,d\n")
    fails(path, r"x\.parquet: expected a whole Parquet file, got something else \(it starts with b'quer'\)")


@pytest.fixture
def parquet(tmp_path):
    """40 rows in 4 row groups, as bytes in which the texts can be found."""
    rows = [{"query": f"query-{i}", "document": "d"} for i in range(40)]
    plain = dict(compression="none", use_dictionary=False, write_page_checksum=True, row_group_size=10)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet", **plain)
    return (tmp_path / "plain.parquet").read_bytes()


def test_a_damaged_part_of_parquet(put, monkeypatch, parquet):
    monkeypatch.setattr("tempembed.data.files.PART_ROWS", 10)
    path = put("x.parquet", parquet)
    assert len(read_pairs(path)) == 40
    put("x.parquet", parquet.replace(b"query-25", b"quarry25", 1))
    message = fails(path, "it is damaged near row 21: write or copy it again", skip_bad_rows=True)
    assert "CRC checksum verification failed" in message


def test_a_damaged_name_in_parquet(put, parquet):
    path = put("x.parquet", parquet.replace(b"document", b"doc\xffment"))
    fails(path, "expected a whole Parquet file, got one that is cut off or damaged.*codec can't decode")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "q2", "docu', "one JSON object per line, got '{\"query\": \"q2\", \"docu' (the last line; "
         "the file may be cut off), Unterminated string starting at at character 17: write it again"),
        ("{'query': 1}\n", "one JSON object per line, got \"{'query': 1}\", Expecting property name enclosed "
         "in double quotes at character 2: write it again"),
        (PAIR.strip() * 2 + "\n", "Extra data at character 34: write it again"),
        ('{"query": "a\tb", "document": "d"}\n', "Invalid control character at at character 13: write it again"),
        ('{"query": ' + "1" * 5000 + "}\n", "Exceeds the limit (4300 digits)"),
        ('["q", "d"]\n', "one JSON object per line, got ['q', 'd'] (list): write it again"),
        ('"q"\n', "one JSON object per line, got 'q': write it again"),
        ("7\n", "one JSON object per line, got 7 (number): write it again"),
        ("null\n", "one JSON object per line, got None: write it again"),
        ('{"query": "a", "query": "b", "document": "d"}\n',
         "each name once in an object, got 'query' more than once: rename one"),
        ('{"query": "a", "document": "d", "meta": {"k": 1, "k": 2}}\n',
         "each name once in an object, got 'k' more than once: rename one"),
    ],
)  # fmt: skip
def test_lines_that_are_no_json_objects(put, line, message):
    path = put("x.jsonl", PAIR % ("q", "d") + "\n \t\n" + line)
    assert message in fails(path, r"x\.jsonl, row 2 \(line 4\): expected ")
    pairs = read_pairs(path, skip_bad_rows=True)
    assert (pairs.queries, pairs.num_skipped) == (["q"], 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.json", '[{"query": "q"}]'), ("x.json", "\n [\n{}]"), ("x.jsonl", '[\n{"query": "q"}\n]\n')],
)
def test_a_json_array(put, name, content):
    fails(
        put(name, content), f"{name}: expected one JSON object per line, got a JSON array", skip_bad_rows=True
    )


@pytest.mark.parametrize(
    ("content", "place", "found"),
    [
        (
            'a,b\n\nc,"d\ne\n',
            "line 4",
            "up to line 5 that breaks this (unexpected end of data): the file is cut off",
        ),
        (
            'a,b\n"c" x,d\ne,f\n',
            "line 3",
            "up to line 3 that breaks this (',' expected after '\"'): the file is",
        ),
        ('a,"b\nb"\nc,"say "hi" now"\n', "line 4", "up to line 4 that breaks this (',' expected after '\"')"),
    ],
)
def test_quotes_in_csv_that_do_not_close(put, content, place, found):
    path = put("x.csv", "query,document\n" + content)
    message = fails(path, rf"x\.csv, {place}: expected quotes that open and close a cell", skip_bad_rows=True)
    assert f"got a record {found}" in message


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("x.csv", 'query,document\n\n"a\n\nb",c\n\n\nd,\n', r"row 2 \(line 8\)"),
        ("x.csv", '\n\n"query",document\r\na,b\r\n\r\nc,"\n \n"\r\n', r"row 2 \(line 6\)"),
        ("x.tsv", "query\tdocument\na\tb\n\nc\t\n", r"row 2 \(line 4\)"),
        ("x.jsonl", "\n\n" + PAIR % ("a", "b") + " \r\n\n" + PAIR % ("c", ""), r"row 2 \(line 6\)"),
        ("x.json", "\ufeff\n" + PAIR % ("a", "b") + PAIR % ("c", ""), r"row 2 \(line 3\)"),
        ("x.parquet", [{"query": "a", "document": "b"}, {"query": "c", "document": ""}], "row 2"),
    ],
)
def test_rows_and_lines_are_counted_exactly(put, name, content, place):
    fails(put(name, content), rf"{name}, {place}, column 'document': expected text, got '.*\(empty\)")


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv"])
def test_empty_files(put, name):
    fails(put(name, b""), rf"{name}: expected pairs, got an empty file \(0 bytes\)", skip_bad_rows=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "query,document\n\n"),
        ("x.jsonl", "\n  \n"),
        ("x.jsonl", b"\xef\xbb\xbf"),
        ("x.parquet", pa.schema({"query": pa.string(), "document": pa.string()}).empty_table()),
    ],
)
def test_files_without_rows(put, name, content):
    fails(put(name, content), rf"{name}: expected at least one pair, but it has no rows")


@pytest.mark.parametrize("content", ["\n\n", b"\xef\xbb\xbf"])
def test_csv_without_a_header(put, content):
    fails(put("x.csv", content), "x.csv: expected columns .* got no 'query' and no 'document' among none: ")


# Folders


def test_a_folder_is_read_by_name(put, tmp_path):
    for name, row in (("c.csv", ROWS[0]), ("a.jsonl", ROWS[1]), ("b.PARQUET", ROWS[2])):
        put(name, [row])
    put(".hidden.jsonl", "junk")
    put("README.md", "junk")
    (tmp_path / "sub.csv").mkdir()
    pairs = read_pairs(str(tmp_path))
    assert pairs.queries == [ROWS[1]["query"], ROWS[2]["query"], ROWS[0]["query"]]
    assert pairs.source == str(tmp_path)


def test_faults_name_the_file_in_the_folder(put, tmp_path):
    put("a.jsonl", PAIR % ("q", "d"))
    put("b.csv", "query,document\np,d\nr,\n")
    fails(str(tmp_path), r"b\.csv, row 2 \(line 3\), column 'document'")
    assert read_pairs(str(tmp_path), skip_bad_rows=True).queries == ["q", "p"]
    put("c.csv", b"")
    fails(str(tmp_path), r"c\.csv: expected pairs, got an empty file", skip_bad_rows=True)


def test_folders_without_data(put, tmp_path):
    endings = r"expected files that end in \.parquet, \.jsonl, \.ndjson, \.json, \.csv, \.tsv, got "
    fails(str(tmp_path), endings + "an empty folder: give the folder that holds the files")
    put(".x.csv", "query,document\n")
    fails(str(tmp_path), endings + "an empty folder")
    put("x.txt", "junk")
    (tmp_path / "sub").mkdir()
    fails(str(tmp_path), endings + r"only 'sub', 'x\.txt': give the folder")


def test_a_link_to_nowhere(put, tmp_path):
    put("a.jsonl", PAIR % ("q", "d"))
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone")
    fails(str(tmp_path), "expected a file, got none that can be read .*No such file .*; check the path")


# Datasets


@pytest.fixture
def dataset():
    datasets.disable_progress_bars()
    yield datasets.Dataset.from_list(ROWS)
    datasets.enable_progress_bars()


def test_a_saved_dataset(put, tmp_path, dataset):
    source = str(tmp_path / "ds")
    dataset.select([2, 0, 1]).save_to_disk(source)
    pairs = read_pairs(source)
    assert pairs.queries == [ROWS[i]["query"] for i in (2, 0, 1)]
    moved = [ROWS[i] for i in (2, 0, 1)]
    assert pairs.fingerprint == read_pairs(put("x.jsonl", moved)).fingerprint
    put("ds/state.json", "{")
    fails(
        source,
        "expected a whole folder of Dataset.save_to_disk, got UserError: .*JSONDecodeError.*: save it again",
    )


def test_bad_rows_of_a_saved_dataset(tmp_path):
    rows = [{"query": "q", "document": "d"}, {"query": " ", "document": "d"}, {"query": "r", "document": "d"}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path)
    fails(str(tmp_path), r"row 2, column 'query': expected text, got ' ' \(empty\)")
    assert read_pairs(str(tmp_path), skip_bad_rows=True).queries == ["q", "r"]


def test_a_saved_dataset_of_several_splits(tmp_path, dataset):
    datasets.DatasetDict({"two": dataset, "one": dataset}).save_to_disk(tmp_path)
    message = fails(str(tmp_path), r"expected one dataset, got several splits \('one', 'two'\)")
    assert message.endswith(f": give {tmp_path}/<split>")
    assert len(read_pairs(str(tmp_path / "two"))) == 3


def test_the_hub_cannot_be_reached():
    source = "nobody/no-such-data-set:config"
    message = fails(
        source, "^nobody/no-such-data-set: no such file or folder, and as a dataset: the hub could "
    )
    assert message.endswith(": check the spelling, the network, and the form org/name:config:split")


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("org/name", ("org/name", None, "train")),
        ("name", ("name", None, "train")),
        ("org/na.me-2:config", ("org/na.me-2", "config", "train")),
        ("org/name:config:test[:10%]", ("org/name", "config", "test[:10%]")),
        ("org/name::test", ("org/name", None, "test")),
    ],
)
def test_names_of_the_hub(monkeypatch, dataset, source, asked):
    calls = []

    def load_dataset(name, config, *, split):
        calls.append((name, config, split))
        return dataset

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    pairs = read_pairs(source)
    assert calls == [asked]
    assert (pairs.source, pairs.queries) == (source, [row["query"] for row in ROWS])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "expected a file, a folder or a hub name with pairs, got an empty name: set --data"),
        (" \n", "got an empty name: set --data"),
        ("absent.csv", r"^absent\.csv: no such file or folder, nor a hub name like org/name"),
        ("absent/pairs.Parquet:x", "no such file or folder, nor a hub name"),
        ("/absent/pairs", "no such file or folder, nor a hub name"),
        ("a/b/c", "no such file or folder, nor a hub name"),
        ("a:b:c/d", "no such file or folder, nor a hub name"),
        ("a\0b", "no such file or folder, nor a hub name"),
        ("~nobody-of-this-name/x.csv", "^~nobody-of-this-name/x.csv: no such file or folder, nor a hub name"),
        ("x" * 5000, "expected a readable file or folder, got .*File name too long"),
    ],
)
def test_sources_that_are_none(source, message):
    fails(source, message)


def test_home_and_other_endings(put, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put("x.csv", ROWS)
    assert len(read_pairs("~/x.csv")) == 3
    fails(
        put("x.jsonl.gz", "junk"),
        r"x\.jsonl\.gz: expected a whole gzip file, it is damaged, cut off or something",
    )
    fails(put("x.zip", "junk"), r"expected a file that ends in \.parquet, .*, got '\.zip': convert it")
    fails(put("pairs", "junk"), r"expected a file that ends in \.parquet, .*, got '': convert it")


def test_a_line_that_is_too_long_is_a_bad_row(tmp_path):
    path = str(tmp_path / "pairs.jsonl")
    rows = [json.dumps({"query": f"what is number {i}", "document": f"the number {i}"}) for i in range(5)]
    long = json.dumps({"query": "q", "document": "x" * (40 * 2**20)})
    Path(path).write_text("\n".join([*rows[:2], long, *rows[2:], long]))
    fails(path, r"row 3 \(line 3\): expected lines of at most 16,777,216 bytes, got a longer one")
    pairs = read_pairs(path, skip_bad_rows=True)
    assert pairs.queries == [f"what is number {i}" for i in range(5)]
    assert pairs.skip_reasons == {"line that is too long": 2}
