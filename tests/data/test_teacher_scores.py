"""A teacher's scores beside the candidates: one for the document, then one for each hard negative."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import Pairs, read_pairs
from tempembed.data.split import holdout
from tempembed.system.errors import UserError

ROWS = [
    {"query": "a", "document": "b", "hard_negatives": ["c", "d"], "scores": [3.0, 1.5, -2.0]},
    {"query": "e", "document": "f", "hard_negatives": [], "scores": [0.5]},
    {"query": "g", "document": "h", "hard_negatives": ["i"], "scores": None},
]
WANT = [row["scores"] for row in ROWS]


def write(folder, rows, kind):
    path = folder / f"pairs.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        cells = [["query", "document", "hard_negatives", "scores"]] + [
            [r["query"], r["document"], json.dumps(r["hard_negatives"]), json.dumps(r["scores"])]
            for r in rows
        ]
        path.write_text("".join("\t".join(row).replace("null", "") + "\n" for row in cells))
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "tsv"])
def test_they_are_read_from_every_format(tmp_path, kind):
    pairs = read_pairs(write(tmp_path, ROWS, kind))
    assert pairs.scores == WANT
    assert pairs.hard_negatives == [row["hard_negatives"] for row in ROWS]
    assert pairs.fingerprint == read_pairs(write(tmp_path, ROWS, "jsonl")).fingerprint


def test_other_scores_are_other_data_and_data_without_has_none(tmp_path):
    plain = [{name: value for name, value in row.items() if name != "scores"} for row in ROWS]
    changed = [*ROWS[:2], {**ROWS[2], "scores": [1.0, 2.0]}]
    prints = {read_pairs(write(tmp_path, rows, "jsonl")).fingerprint for rows in (ROWS, plain, changed)}
    assert len(prints) == 3
    assert read_pairs(write(tmp_path, plain, "jsonl")).scores is None
    nothing = [{**row, "scores": None} for row in ROWS]
    assert read_pairs(write(tmp_path, nothing, "jsonl")).scores is None


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "tsv"])
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([3.0, 1.5], r"row 2.*'scores': expected a list of 3 numbers \(the document's, then one for each of 2 hard negatives\), got 2"),
        ([3.0, 1.5, -2.0, 0.1], r"row 2.*expected a list of 3 numbers.*got 4"),
        ([], r"row 2.*expected a list of 3 numbers.*got 0"),
        ([3.0, None, 1.0], "row 2.*expected a number in each of 3 places"),
    ],
)  # fmt: skip
def test_another_length_is_one_line_with_the_row(tmp_path, kind, scores, message):
    rows = [ROWS[1], {**ROWS[0], "scores": scores}]
    if kind == "tsv" and None in scores:
        pytest.skip("a cell without null")
    path = write(tmp_path, rows, kind)
    with pytest.raises(UserError, match=message) as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)
    pairs = read_pairs(path, skip_bad_rows=True)
    assert (len(pairs), pairs.num_skipped) == (1, 1)


def test_a_column_of_single_numbers_is_refused(tmp_path):
    rows = [{"query": "a", "document": "b", "scores": 0.5}, {"query": "c", "document": "d", "scores": 0.6}]
    for kind, message in (
        ("parquet", "'scores': expected lists of numbers"),
        ("jsonl", "row 1.*expected a list of 1 numbers"),
    ):
        with pytest.raises(UserError, match=message):
            read_pairs(write(tmp_path, rows, kind))


def test_scores_of_flagembedding_go_with_their_documents(tmp_path):
    row = {
        "query": "q",
        "pos": ["a", "b"],
        "neg": ["x", "a", "y"],
        "pos_scores": [5, 4],
        "neg_scores": [1, 9, 2],
    }
    pairs = read_pairs(write(tmp_path, [row, {**row, "query": "r", "pos_scores": None}], "jsonl"))
    assert pairs.hard_negatives == [["x", "y"]] * 4  # a is right
    assert pairs.scores == [[5, 1, 2], [4, 1, 2], None, None]
    with pytest.raises(UserError, match="'neg_scores': expected a list of 3 numbers"):
        read_pairs(write(tmp_path, [{**row, "neg_scores": [1, 2]}], "jsonl"))


def test_a_hold_out_keeps_scores_with_their_texts():
    rows = [
        {"query": f"q{i}", "document": f"d{i}", "hard_negatives": [f"d{(i * 7 + k) % 40}" for k in (1, 2, 3)]}
        for i in range(40)
    ]
    for row in rows:
        row["scores"] = [float(text[1:]) for text in (row["document"], *row["hard_negatives"])]
    type_ = pa.list_(pa.float32())
    table = pa.table(
        {name: pa.array([row[name] for row in rows], type_ if name == "scores" else None) for name in rows[0]}
    )
    left = 0
    for part in holdout(table, 10, say=lambda _: None):
        for row in part.to_pylist():
            texts = [row["document"], *row["hard_negatives"]]
            assert row["scores"] == [float(text[1:]) for text in texts]
            left += 4 - len(texts)
    assert left > 0
    assert Pairs(table=table, source="").scores == [row["scores"] for row in rows]
