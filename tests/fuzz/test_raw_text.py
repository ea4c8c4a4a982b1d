"""Readers of raw text: rows in any format, text files, packed or not; and the sequences of test texts cut out of anything."""

import gzip
import io
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tempembed.data.bad_rows import Faults
from tempembed.data.cut_texts import TextCutter, words
from tempembed.data.manuals import plain_manual
from tempembed.data.raw_text import TextReading, part_texts, text_parts
from tests.fuzz.harness import damaged, damaged_json, only_our_errors, profile

ROWS = [{"text": f"a text, the number {i}\nof some"} for i in range(5)]


def _parquet():
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
files = st.one_of(
    st.tuples(st.just("x.jsonl"), st.one_of(damaged(LINES), damaged_json(ROWS[0]))),
    st.tuples(st.just("x.parquet"), damaged(_parquet())),
    st.tuples(st.just("x.csv"), damaged(b"text,n\none,1\ntwo,2\n")),
    st.tuples(st.just("x.py"), damaged("def f(x):\n    return 'é'\n".encode())),
    st.tuples(st.just("x.txt.gz"), damaged(gzip.compress(b"some words\nof text\n" * 20))),
)


@profile
@given(files, st.booleans())
def test_raw_text(tmp_path_factory, file, skip):
    folder = tmp_path_factory.mktemp("fuzz")
    name, content = file
    (folder / name).write_bytes(content)
    with only_our_errors("raw text", folder):
        reading = TextReading(column="text", faults=Faults(skip=skip), counts=Counter())
        for part in text_parts(str(folder / name)):
            for text in part_texts(part, reading):
                assert text.strip()
                text.encode()


@profile
@given(st.text(max_size=300), st.lists(st.text(max_size=60), max_size=4), st.integers(0, 50))
def test_no_test_text_survives(text, tests, place):
    tests = [*tests, "one two three four five six", text[place : place + 100]]
    text = text[:place] + tests[0] + text[place:]
    with only_our_errors("cut texts"):
        (kept,), _ = TextCutter(tests).cut([text])
        left = f" {' '.join(words(kept))} "
        assert not any(len(words(test)) >= 5 and f" {' '.join(words(test))} " in left for test in tests)
        plain_manual(text)
