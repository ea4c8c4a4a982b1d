import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import read_pairs, require_rows
from tempembed.errors import UserError

ROWS = [
    {"query": "open the file", "document": "def open(): ...", "label": "io"},
    {"query": 'sum, of "all"', "document": "def total(xs):\n    return sum(xs)", "label": "math"},
    {"query": "größe", "document": "def size(): return 1", "label": "math"},
]


def write(path, rows):
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa.csv.write_csv(table, path)
    return str(path)


def test_same_content_same_pairs_in_every_format(tmp_path):
    found = [read_pairs(write(tmp_path / f"x.{suffix}", ROWS)) for suffix in ("parquet", "jsonl", "csv")]
    assert [f.documents for f in found] == [[r["document"] for r in ROWS]] * 3
    assert found[0].labels == ["io", "math", "math"]
    assert len({f.fingerprint for f in found}) == 1
    changed = read_pairs(write(tmp_path / "y.parquet", [*ROWS[:2], {**ROWS[2], "label": "io"}]))
    assert changed.fingerprint != found[0].fingerprint


def test_spellings_of_sentence_transformers(tmp_path):
    rows = [
        {"anchor": "a", "positive": "b", "negative": "c"},
        {"anchor": "d", "positive": "e", "negative": None},
    ]
    pairs = read_pairs(write(tmp_path / "x.parquet", rows))
    assert (pairs.queries, pairs.documents, pairs.hard_negatives) == (["a", "d"], ["b", "e"], [["c"], []])


def test_hard_negatives(tmp_path):
    row = {"query": "q", "document": "d"}
    numbered = [{**row, "negative_1": "one", "negative_10": "ten", "negative_2": "two"}]
    assert read_pairs(write(tmp_path / "x.jsonl", numbered)).hard_negatives == [["one", "two", "ten"]]
    lists = [{**row, "hard_negatives": ["x", "y"]}]
    assert read_pairs(write(tmp_path / "y.parquet", lists)).hard_negatives == [["x", "y"]]
    (tmp_path / "z.csv").write_text('query,document,hard_negatives\nq,d,"[""x"", ""y""]"\n')
    assert read_pairs(str(tmp_path / "z.csv")).hard_negatives == [["x", "y"]]


def test_folder_and_duplicates(tmp_path):
    write(tmp_path / "a.parquet", ROWS[:2])
    write(tmp_path / "b.jsonl", ROWS[1:])
    pairs = read_pairs(str(tmp_path))
    assert pairs.queries == [r["query"] for r in ROWS]
    assert pairs.skip_reasons == {"duplicate pair": 1}


BAD_ROWS = [
    ({"query": "", "document": "d"}, r"row 2.*column 'query': expected text, got ''"),
    ({"query": "q", "document": "  \n"}, r"row 2.*column 'document'.*empty"),
    ({"query": None, "document": "d"}, r"row 2.*column 'query'.*null"),
    ({"query": 3, "document": "d"}, r"row 2.*column 'query'.*expected text, got 3 \(number\)"),
    ({"query": "q", "document": ["d"]}, r"row 2.*column 'document'.*\(list\)"),
    ({"query": "q", "document": "d", "hard_negatives": "x"}, r"row 2.*'hard_negatives'.*a list of texts"),
    ({"query": "q", "document": "d", "label": 1.5}, r"row 2.*'label'.*got 1.5"),
    (
        {"query": "q", "text": "d"},
        r"row 2.*expected columns 'query' and 'document'.*no 'document' among 'query', 'text'",
    ),
    ({"query": "\ud800", "document": "d"}, r"row 2.*column 'query': expected UTF-8, got half a character"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS)
def test_bad_rows_are_named_or_skipped(tmp_path, bad, message):
    rows = [ROWS[0] | {"label": "a"}, bad if "label" in bad else {**bad, "label": "a"}, ROWS[1]]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=rf"(?s)x\.jsonl, {message}.*--skip-bad-rows"):
        read_pairs(str(path))
    pairs = read_pairs(str(path), skip_bad_rows=True)
    assert (len(pairs), pairs.num_skipped) == (2, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "got an empty file"),
        (
            "x.jsonl",
            b'{"query": "q", "document": "d"}\n{"query": "q2", "docu',
            r"row 2 \(line 2\).*may be cut off",
        ),
        (
            "x.jsonl",
            b'{"query": "q", "document": "\xff"}\n',
            r"line 1\): expected UTF-8, got byte 0xff at byte 29",
        ),
        ("x.jsonl", b'[\n{"query": "q"}]', "JSON array"),
        ("x.jsonl", b'["q", "d"]\n', "row 1.*expected one JSON object per line"),
        ("x.csv", b"query,document\nq,d,e\n", r"row 1 \(line 2\): expected 2 cells.*got 3"),
        ("x.csv", b'query,document\nq,"d\n', "line 2.*the file is cut off"),
        ("x.csv", b"query,document\nq,\xe9\n", r"line 2\), column 'document': expected UTF-8"),
        ("x.csv", b"query,text\nq,d\n", "rename 'text' to 'document'"),
        ("x.csv", b"query,anchor,document\nq,q,d\n", "got both 'query' and 'anchor'"),
        ("x.csv", b"query,document\n", "it has no rows"),
        ("x.jsonl", b'{"query": "q", "document": "d"}\n' * 5, "all 5 rows are duplicates of one pair"),
        ("x.parquet", b"PAR1 no Parquet at all", "cut off or damaged"),
        ("x.txt", b"hello", "ends in .parquet"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s){name}.*{message}"):
        read_pairs(str(tmp_path / name))


def test_truncated_parquet(tmp_path):
    path = write(tmp_path / "x.parquet", ROWS * 50)
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="expected a whole Parquet file"):
        read_pairs(path)


def test_places_without_data(tmp_path):
    with pytest.raises(UserError, match="got an empty folder"):
        read_pairs(str(tmp_path))
    with pytest.raises(UserError, match="no such file or folder"):
        read_pairs(str(tmp_path / "absent.parquet"))
    with pytest.raises(UserError, match="the hub could not be reached"):
        read_pairs("nobody/no-such-data-set")


def test_a_saved_datasets_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "ds"))
    assert read_pairs(str(tmp_path / "ds")).queries == [r["query"] for r in ROWS]


def test_fewer_pairs_than_a_batch(tmp_path):
    pairs = read_pairs(write(tmp_path / "x.parquet", ROWS))
    require_rows(pairs, 3, "a batch")
    with pytest.raises(UserError, match=r"at least 512 pairs for one batch, got 3"):
        require_rows(pairs, 512, "one batch")


def test_labels_in_only_some_rows_are_not_taken(tmp_path):
    rows = [ROWS[0], ROWS[1], {**ROWS[2], "label": None}]
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "x.jsonl", order)
        with pytest.raises(UserError, match="column 'label'"):
            read_pairs(path)
        pairs = read_pairs(path, skip_bad_rows=True)
        assert sorted(pairs.labels) == ["io", "math"]


def test_broken_text_in_one_row_is_skippable_everywhere(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"query,document\nq,\xe9\nq2,d2\nq3,d3\n")
    assert read_pairs(str(tmp_path / "x.csv"), skip_bad_rows=True).queries == ["q2", "q3"]
    broken = pa.table({"query": ["q", "r"], "document": pa.array([b"\xff", b"d"]).view(pa.string())})
    pq.write_table(broken, tmp_path / "x.parquet")
    with pytest.raises(UserError, match="row 1, column 'document': expected UTF-8"):
        read_pairs(str(tmp_path / "x.parquet"))
    assert read_pairs(str(tmp_path / "x.parquet"), skip_bad_rows=True).queries == ["r"]


@pytest.mark.parametrize(
    "columns", [{"hard_negatives": ["x"], "negative_1": "y"}, {"negative": "x", "negative_1": "y"}]
)
def test_two_spellings_of_hard_negatives(tmp_path, columns):
    path = write(tmp_path / "x.parquet", [{"query": "q", "document": "d", **columns}])
    with pytest.raises(UserError, match="negative_1"):
        read_pairs(path)
