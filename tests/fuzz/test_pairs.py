"""Readers of training pairs: text formats, Parquet, and folders of Dataset.save_to_disk."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempembed.data.pairs import read_pairs
from tests.fuzz.harness import damaged, damaged_json, json_bytes, odd, only_our_errors, profile

NAMES = [
    "query",
    "document",
    "anchor",
    "positive",
    "negative",
    "negative_1",
    "negative_2",
    "hard_negatives",
    "label",
    "pos",
    "neg",
    "negatives",
    "positive_passages",
    "messages",
    "positive_messages",
    "sentence1",
    "sentence2",
    "score",
    "x",
    "",
]
TEXTS = st.sampled_from(
    [
        "one",
        "two words",
        " ",
        "",
        "three\n",
        'q"uote',
        "a,b",
        "tab\t",
        "é",
        "\ufeff",
        "\0",
        "\r",
        "x" * 200,
        '["n", "m"]',
        "[",
        "7",
    ]
)


def read(source, skip):
    """What every user of pairs touches."""
    pairs = read_pairs(str(source), skip_bad_rows=skip)
    assert len(pairs) == len(pairs.queries) == len(pairs.documents) > 0
    assert pairs.num_skipped == sum(pairs.skip_reasons.values())
    assert len(pairs.fingerprint) == 16
    for column in (pairs.hard_negatives, pairs.labels, pairs.sources):
        assert column is None or len(column) == len(pairs)


good_row = st.fixed_dictionaries({"query": TEXTS, "document": TEXTS})
passages = st.lists(st.one_of(TEXTS, odd, st.fixed_dictionaries({"text": TEXTS, "title": TEXTS})), max_size=3)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "x"]), "content": TEXTS}), max_size=2
)
other_row = st.one_of(
    st.fixed_dictionaries({"query": TEXTS, "pos": passages, "neg": passages}),
    st.fixed_dictionaries({"query": TEXTS, "positive_passages": passages, "negative_passages": passages}),
    st.fixed_dictionaries(
        {"messages": messages, "positive_messages": st.lists(messages, max_size=2), "label": odd}
    ),
    st.fixed_dictionaries(
        {"sentence1": TEXTS, "sentence2": TEXTS, "label": st.one_of(st.sampled_from([0, 1, "1"]), odd)}
    ),
)
rows = st.lists(
    st.one_of(
        good_row,
        good_row,
        other_row,
        st.dictionaries(st.sampled_from(NAMES), st.one_of(TEXTS, odd), max_size=5),
    ),
    max_size=6,
)


def as_json(rows):
    return b"".join(json_bytes(row) + b"\n" for row in rows)


def as_csv(rows, delimiter):
    file = io.StringIO()
    names = list(rows[0]) if rows else []
    csv.writer(file, delimiter=delimiter).writerows(
        [names, *([row.get(name) for name in names] for row in rows)]
    )
    return file.getvalue().encode("utf-8", "surrogatepass")


@st.composite
def text_file(draw):
    suffix = draw(st.sampled_from([".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".CSV"]))
    content = draw(st.one_of(rows, st.lists(other_row, max_size=4)))
    whole = as_csv(content, "\t" if suffix == ".tsv" else ",") if "sv" in suffix.lower() else as_json(content)
    return suffix, draw(damaged(whole))


@profile
@given(text_file(), st.booleans(), st.booleans())
def test_pairs_text(folder, file, skip, packed):
    path = folder / f"a{file[0]}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(file[1]) if packed else file[1])
    with only_our_errors("test_pairs_text", folder):
        read(path, skip)
    path.unlink()


TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
]
TYPES = [
    *TEXT_TYPES, pa.null(), pa.binary(), pa.int64(), pa.uint8(), pa.float64(), pa.bool_(), pa.list_(pa.string()), pa.large_list(pa.large_string()),
    pa.list_(pa.string(), 2), pa.list_(pa.list_(pa.string())), pa.struct({"a": pa.string()}), pa.timestamp("s"), pa.list_(pa.int32()),
    pa.decimal128(5, 2), pa.map_(pa.string(), pa.string()), pa.list_(pa.dictionary(pa.int32(), pa.string())), pa.list_(pa.string_view()),
]  # fmt: skip


@st.composite
def table(draw):
    num, columns, names = draw(st.integers(0, 6)), [], []
    for name in ("query", "document", *draw(st.lists(st.sampled_from(NAMES), max_size=3))):
        type_ = draw(st.sampled_from(TEXT_TYPES if draw(st.integers(0, 5)) else TYPES))
        if name in ("hard_negatives", "label", "negative"):
            type_ = draw(st.sampled_from(TYPES))
        texts = draw(st.lists(st.one_of(TEXTS, TEXTS, st.none()), min_size=num, max_size=num))
        columns.append(as_type(texts, type_))
        names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def as_type(texts, type_):
    """The texts in a type, or as near as it gets."""
    if pa.types.is_dictionary(type_):
        return pa.array(texts, type_.value_type).dictionary_encode().cast(type_)
    if pa.types.is_map(type_):
        return pa.array([[(t, t)] if t else None for t in texts], type_)
    if pa.types.is_list(type_) and pa.types.is_dictionary(type_.value_type):
        values = pa.array([t or "" for t in texts]).dictionary_encode()
        return pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), values)
    for wrap in (
        lambda t: t,
        lambda t: t and [t, t],
        lambda t: t and [[t]],
        lambda t: t and {"a": t},
        lambda t: t and len(t),
        lambda t: t and t.encode(),
        lambda t: None,
        lambda t: t and [len(t)],
        bool,
    ):
        try:
            return pa.array([wrap(t) for t in texts], type_)
        except (pa.ArrowException, TypeError, ValueError):
            continue
    return pa.nulls(len(texts), type_)


OPTIONS = st.fixed_dictionaries(
    {"compression": st.sampled_from(["none", "zstd", "snappy", "gzip"]), "use_dictionary": st.booleans(), "write_page_checksum": st.booleans(),
     "data_page_version": st.sampled_from(["1.0", "2.0"]), "store_schema": st.booleans()}
)  # fmt: skip


@st.composite
def parquet_file(draw):
    sink = pa.BufferOutputStream()
    made = draw(table())
    try:
        pq.write_table(made, sink, **draw(OPTIONS))
    except (pa.ArrowException, OSError):  # a type that Parquet has not
        made = made.select([])
        sink = pa.BufferOutputStream()
        pq.write_table(made, sink)
    return draw(damaged(sink.getvalue().to_pybytes(), 2))


@profile
@given(parquet_file(), st.booleans())
def test_pairs_parquet(folder, content, skip):
    path = folder / "a.parquet"
    path.write_bytes(content)
    with only_our_errors("test_pairs_parquet", folder):
        read(path, skip)
    path.unlink()


@profile
@given(st.data(), st.booleans())
def test_pairs_of_lists_in_parquet(folder, data, skip):
    """Lists and objects of text, whole and damaged."""
    path, sink = folder / "a.parquet", pa.BufferOutputStream()
    kind = data.draw(st.sampled_from(["pos", "positive_passages", "positive", "document"]))
    item = TEXTS if kind == "pos" else st.fixed_dictionaries({"text": TEXTS, "title": TEXTS})
    cell = item if kind == "document" else st.lists(item, max_size=3)
    content = data.draw(st.lists(st.fixed_dictionaries({"query": TEXTS, kind: cell}), min_size=1, max_size=5))
    pq.write_table(pa.Table.from_pylist(content), sink, **data.draw(OPTIONS))
    path.write_bytes(data.draw(damaged(sink.getvalue().to_pybytes(), 2)))
    with only_our_errors("test_pairs_of_lists_in_parquet", folder):
        read(path, skip)
    path.unlink()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    import datasets

    datasets.disable_progress_bars()
    place = tmp_path_factory.mktemp("saved") / "data"
    rows = {
        "query": ["a", "b", "c"],
        "document": ["d", "e", "f"],
        "label": [1, 2, 3],
        "hard_negatives": [["x"], [], ["y", "z"]],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(place)
    return {path.name: path.read_bytes() for path in place.iterdir()}


@profile
@given(st.data())
def test_pairs_saved(saved, folder, data):
    name = data.draw(st.sampled_from(sorted(saved)))
    kind = damaged_json(json.loads(saved[name])) if name.endswith(".json") else damaged(saved[name])
    for each, whole in saved.items():
        (folder / each).write_bytes(whole)
    (folder / name).write_bytes(data.draw(kind))
    with only_our_errors("test_pairs_saved", folder):
        read(folder, False)
