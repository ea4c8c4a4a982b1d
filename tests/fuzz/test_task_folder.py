"""Folders in mteb's layout."""

import gzip
import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tempembed.data.records import SUFFIXES
from tempembed.evaluation.folder import read_folder
from tests.fuzz.harness import changed, damaged, json_bytes, only_our_errors, profile

SHAPES = [
    {
        "corpus": [{"_id": "a", "text": "x", "title": "t"}, {"_id": "b", "text": "y", "title": ""}],
        "queries": [{"_id": "q", "text": "z"}, {"_id": "r", "text": "w"}],
        "qrels": [{"query-id": "q", "corpus-id": "a", "score": 1}, {"query-id": "r", "corpus-id": "b", "score": 2}],
    },
    {
        "corpus": [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}],
        "queries": [{"id": 7, "text": "z"}],
        "qrels": [{"query-id": 7, "corpus-id": 1, "score": 1}],
        "top_ranked": [{"query-id": 7, "corpus-ids": [1, 2]}],
    },
    {
        "corpus": [{"_id": "01", "text": "", "title": "t"}, {"_id": "1", "text": "y"}],
        "queries": [{"query_id": "q", "text": "z"}, {"query_id": "r", "text": " "}],
        "qrels": [{"query_id": "q", "doc_id": "1", "relevance": 1}, {"query_id": "q", "doc_id": "1", "relevance": 2}],
    },
    {"test": [{"sentences": "a", "labels": "x"}, {"sentences": "b", "labels": "y"}]},
    {"test": [{"sentences": ["a", "b"], "labels": [0, 1]}, {"sentences": ["c", "d"], "labels": [1, 0]}]},
    {"test": [{"sentence1": "a", "sentence2": "b", "score": 0.5}]},
    {"test": [{"sentence1": "a", "sentence2": "b", "labels": 1}]},
    {"train": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "test": [{"text": "c", "label": "x"}]},
]  # fmt: skip


def _written(rows, suffix):
    rows = rows if isinstance(rows, list) else [rows]
    if suffix in (".jsonl", ".ndjson", ".json"):
        return b"".join(json_bytes(row) + b"\n" for row in rows)
    rows = [row for row in rows if isinstance(row, dict)]
    if suffix == ".parquet":
        sink = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_pylist(rows), sink)
        except (
            pa.ArrowException,
            UnicodeEncodeError,
            OverflowError,
            TypeError,
        ):  # values that Arrow cannot mix
            return b""
        return sink.getvalue()
    comma = "\t" if suffix == ".tsv" else ","
    names = list(rows[0]) if rows else []
    lines = [names, *([row.get(name) for name in names] for row in rows)]
    cells = ([value if isinstance(value, str) else json.dumps(value) for value in line] for line in lines)
    return "\n".join(comma.join(line) for line in cells).encode("utf-8", "surrogatepass")


@st.composite
def task(draw):
    tables = draw(st.sampled_from(SHAPES))
    broken = draw(st.sampled_from(sorted(tables)))
    files = {}
    for stem, rows in tables.items():
        suffix = draw(st.sampled_from(SUFFIXES))
        content = _written(draw(changed(rows)) if stem == broken else rows, suffix)
        place = draw(
            st.sampled_from(
                [f"{stem}{suffix}", f"{stem}{suffix}", f"{stem}/test{suffix}", f"{stem}/x{suffix}"]
            )
        )
        files[place] = draw(damaged(content, 2)) if stem == broken else content
        if draw(st.integers(0, 5)) == 0:
            files[f"{place}.gz"] = draw(damaged(gzip.compress(files.pop(place)), 1))
    if "qrels" in tables and draw(st.integers(0, 2)) == 0:
        files = {place: content for place, content in files.items() if "qrels" not in place}
        form = draw(st.sampled_from(["qrels.txt", "qrels.trec", "qrels.tsv", "qrels.csv", "test.qrels"]))
        files[form] = draw(damaged(b"q 0 a 1\nr\t0\tb\t2\nq,a,1\n", 2))
    return files


@profile
@given(task(), st.booleans())
def test_task_folder(folder, files, skip):
    for place, content in files.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(content)
    with only_our_errors("test_task_folder", folder):
        for found in read_folder(folder, skip_bad_rows=skip):
            check(found)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def check(found):
    """What the tasks are made of."""
    for columns in found.columns.values():
        assert len({len(column) for column in columns.values()}) == 1
        for name, column in columns.items():
            if name in ("text", "title", "sentence1", "sentence2"):
                assert all(isinstance(text, str) for text in column)
            if name in ("label", "labels") and found.kind != "clustering_sets":
                assert len(set(column)) >= 1
    if found.kind == "retrieval":
        ids = set(found.columns["corpus"]["id"])
        assert all(set(documents) <= ids for documents in found.relevant.values())
