"""What a user gets back: distinct pairs, counts of what was left out, and a fingerprint of the content."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempembed.data import pairs as pairs_module
from tempembed.data.pairs import Pairs, read_pairs, require_rows
from tempembed.system.errors import UserError

ROWS = [
    {"query": "open", "document": "def open(): ...", "hard_negatives": ["x", "yz"], "label": "io"},
    {"query": 'sum, of "all"', "document": "a\n\tb", "hard_negatives": [], "label": "math"},
    {"query": "größe", "document": "def size(): return 1", "hard_negatives": ["w"], "label": "math"},
]
PLAIN = [{"query": row["query"], "document": row["document"]} for row in ROWS]
FULL, BARE = "a0c467231d4e757b", "bc76586614b0ae24"  # fingerprints of the two
FORMATS = ["x.parquet", "x.jsonl", "x.csv", "x.tsv"]


def with_row(number, **values):
    return [{**row, **values} if i == number else row for i, row in enumerate(ROWS)]


def test_what_is_absent_is_none(put):
    pairs = read_pairs(put("x.jsonl", PLAIN))
    assert (pairs.hard_negatives, pairs.labels) == (None, None)
    assert pairs.table.column_names == ["query", "document"]
    assert pairs.queries is not pairs.queries
    empty = [{**row, "hard_negatives": [], "label": None} for row in PLAIN]
    for name in FORMATS:  # columns without content are no columns
        assert read_pairs(put(name, empty)).table.column_names == ["query", "document"]
        assert read_pairs(put(name, empty)).fingerprint == pairs.fingerprint


# Fingerprints


def test_formats_do_not_change_the_fingerprint(put):
    """A fixed value, so that an upgrade that would change it (and so make caches useless) is seen."""
    assert {read_pairs(put(name, ROWS)).fingerprint for name in FORMATS} == {FULL}
    assert {read_pairs(put(name, PLAIN)).fingerprint for name in FORMATS} == {BARE}


def test_spellings_do_not_change_the_fingerprint(put):
    rows = [
        {"label": row["label"], "negative_2": None, "positive": row["document"], "anchor": row["query"]}
        for row in ROWS
    ]
    for row, source in zip(rows, ROWS, strict=True):
        row |= {f"negative_{i}": text for i, text in enumerate(source["hard_negatives"], start=1)}
    full = rows[0] | rows[1] | rows[2]
    rows = [dict.fromkeys(full) | row for row in rows]
    assert {read_pairs(put(name, rows)).fingerprint for name in FORMATS} == {FULL}


@pytest.mark.parametrize("size", [1, 2])
def test_chunks_do_not_change_the_fingerprint(tmp_path, monkeypatch, size):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet", row_group_size=size)
    for module in ("files", "rows", "kept_rows"):
        monkeypatch.setattr(f"tempembed.data.{module}.PART_ROWS", size)
    pairs = read_pairs(str(tmp_path / "x.parquet"))
    assert (pairs.table["query"].num_chunks > 1, pairs.fingerprint) == (True, FULL)


def test_slices_and_widths_do_not_change_the_fingerprint():
    table = pa.Table.from_pylist([ROWS[2], *ROWS, ROWS[0]])  # 32-bit offsets, unlike those of the reader
    assert table.schema.field("query").type == pa.string()
    assert Pairs(table=table.slice(1, 3), source="x").fingerprint == FULL
    parts = pa.concat_tables([table.slice(1, 2), table.slice(3, 0), table.slice(3, 1)])
    assert Pairs(table=parts, source="x").fingerprint == FULL


@pytest.mark.parametrize(
    "rows",
    [
        with_row(0, query="opem"),
        with_row(1, document="a\n\tc"),
        with_row(1, document="a\r\n\tb"),
        with_row(2, label="maths"),
        with_row(0, hard_negatives=["x", "yy"]),
        with_row(0, hard_negatives=["xy", "z"]),
        with_row(0, hard_negatives=["yz", "x"]),
        with_row(1, hard_negatives=["w"])[:2] + with_row(2, hard_negatives=[])[2:],
        with_row(0, query="opend", document="ef open(): ..."),
        [{**ROWS[0], "query": "ope"}, {**ROWS[1], "query": "n" + ROWS[1]["query"]}, ROWS[2]],
        [ROWS[1], ROWS[0], ROWS[2]],
        ROWS[:2],
        PLAIN,
        [{**row, "label": r["label"]} for row, r in zip(PLAIN, ROWS, strict=True)],
    ],
)
def test_any_change_changes_the_fingerprint(put, rows):
    assert read_pairs(put("x.jsonl", rows)).fingerprint != FULL


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(texts, texts, st.lists(texts, max_size=2)), min_size=1, max_size=4))
def test_any_text_survives_in_every_format(put, content):
    rows = [
        {"query": f"{i}{query}", "document": document, "hard_negatives": negatives}
        for i, (query, document, negatives) in enumerate(content)
    ]
    found = [read_pairs(put(name, rows)) for name in FORMATS]
    for pairs in found:
        assert pairs.queries == [row["query"] for row in rows]
        assert pairs.documents == [row["document"] for row in rows]
        assert (pairs.hard_negatives or [[]] * len(rows)) == [row["hard_negatives"] for row in rows]
    assert len({pairs.fingerprint for pairs in found}) == 1


# Duplicates


@pytest.mark.parametrize("chunk_rows", [1, 2, 65_536])
@pytest.mark.parametrize("same_hash", [False, True])
def test_the_first_of_equal_pairs_is_kept(put, monkeypatch, same_hash, chunk_rows):
    monkeypatch.setattr("tempembed.data.kept_rows.PART_ROWS", chunk_rows)
    if same_hash:  # texts decide, not hashes
        monkeypatch.setattr(pairs_module, "hash", lambda pair: 7, raising=False)
    keys = ["qd", "qe", "qd", "rd", "qd", "qe", "Qd", "q d"]
    rows = [{"query": key[0], "document": key[1:], "label": str(i)} for i, key in enumerate(keys)]
    pairs = read_pairs(put("x.jsonl", rows))
    assert pairs.labels == ["0", "1", "3", "6", "7"]
    assert (pairs.num_skipped, pairs.skip_reasons) == (3, {"duplicate pair": 3})
    assert pairs.documents == ["d", "e", "d", "d", " d"]


def test_duplicates_across_files(put, tmp_path):
    put("a.parquet", ROWS[:2])
    put("b.jsonl", ROWS[1:])
    put("c.csv", ROWS)
    pairs = read_pairs(str(tmp_path))
    assert pairs.skip_reasons == {"duplicate pair": 4}
    assert pairs.table.drop_columns("source").equals(read_pairs(str(tmp_path / "c.csv")).table)
    assert pairs.table["source"].to_pylist() == ["a.parquet"] * 2 + ["b.jsonl"] * (len(pairs) - 2)
    assert pairs.sources.tolist() == [0, 0] + [1] * (len(pairs) - 2)
    assert pairs.fingerprint != FULL  # which file a pair is from counts


@pytest.mark.parametrize("skip", [False, True])
def test_only_copies_of_one_pair(put, skip):
    path = put("x.csv", "query,document\nq,d\nq ,d\nq,\td\n" + ("q,\n" if skip else ""))
    with pytest.raises(UserError) as error:
        read_pairs(path, skip_bad_rows=skip)
    assert str(error.value) == (
        f"{path}: expected different pairs, but all 3 rows are duplicates of one pair, query 'q': check how "
        f"the file was made"
    )


def test_one_pair_alone_is_fine(put):
    assert read_pairs(put("x.csv", "query,document\nq,d\n")).documents == ["d"]


# Several files


@pytest.mark.parametrize(("labelled", "other"), [("a.jsonl", "b.csv"), ("b.csv", "a.jsonl")])
def test_labels_of_only_some_files(put, tmp_path, labelled, other):
    put(labelled, ROWS)
    put(other, PLAIN)
    for skip in (False, True):
        with pytest.raises(UserError) as error:
            read_pairs(str(tmp_path), skip_bad_rows=skip)
        assert str(error.value) == (
            f"{tmp_path / other}: expected a column 'label' as in {tmp_path / labelled}, got none: add labels "
            f"to all files or remove them from all"
        )
    put(other, "query,document\n" if other == "b.csv" else "\n")  # no rows: nothing that lacks a label
    assert read_pairs(str(tmp_path)).labels == ["io", "math", "math"]


def test_files_with_and_without_negatives(put, tmp_path):
    put("a.csv", PLAIN[:1])
    put("b.jsonl", [{"anchor": "q", "positive": "d", "negative": "n"}])
    assert read_pairs(str(tmp_path)).hard_negatives == [[], ["n"]]


# Enough rows


def test_fewer_pairs_than_needed(put):
    path = put("x.csv", "query,document\nq,d\nr,d\nq,d\nr,\n")
    pairs = read_pairs(path, skip_bad_rows=True)
    require_rows(pairs, 2, "a batch")
    with pytest.raises(UserError) as error:
        require_rows(pairs, 3, "one batch (--batch-size 3)")
    assert str(error.value) == (
        f"{path}: expected at least 3 pairs for one batch (--batch-size 3), got 2 (2 rows left out: 1 x empty "
        f"text in document, 1 x duplicate pair): give more data or ask for less"
    )
    with pytest.raises(UserError, match="at least 9 pairs for a test, got 3: give more data or ask for less"):
        require_rows(read_pairs(put("x.jsonl", PLAIN)), 9, "a test")
