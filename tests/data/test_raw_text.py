"""Raw text of any source, as documents: what is read, what is split, what is refused in one line."""

import gzip
from collections import Counter

import datasets
import pytest

from tempembed.data.bad_rows import Faults
from tempembed.data.raw_text import PIECE_CHARACTERS, TextReading, part_texts, text_parts
from tempembed.system.errors import UserError

ROWS = [{"text": "first\ndocument", "n": 1}, {"text": "größe 😀", "n": 2}]


def read(source, column="text", *, skip=False):
    reading = TextReading(column=column, faults=Faults(skip=skip), counts=Counter())
    return [text for part in text_parts(str(source)) for text in part_texts(part, reading)], reading


def fails(source, message, column="text"):
    with pytest.raises(UserError, match=message) as error:
        read(source, column)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.ndjson", "x.json", "x.csv", "X.JsonL"])
def test_files_of_rows(put, name):
    assert read(put(name, ROWS))[0] == ["first\ndocument", "größe 😀"]


@pytest.mark.parametrize("name", ["x.txt", "x.py", "x.unknown"])
def test_other_files_are_a_document_each(put, tmp_path, name):
    put(name, "\ufeffone\n\ntwo\n")
    assert read(tmp_path / name)[0] == ["one\n\ntwo\n"]
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"packed"))
    assert read(tmp_path / f"{name}.gz")[0] == ["packed"]


def test_folders_are_read_to_the_bottom_in_order_and_globs_name_what_folders_leave_out(put, tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    put("z.md", "last")
    put("a.jsonl", ROWS[:1])
    put("b/c/m.py", "pass")
    put("b/settings.json", "{}")
    put(".hidden/x.txt", "no")
    assert read(tmp_path)[0] == ["first\ndocument", "pass", "last"]
    assert read(f"{tmp_path}/**/*.py")[0] == ["pass"]
    put("b/picture.png", b"\x89PNG")
    (tmp_path / "b" / "c" / "m.py").unlink()
    fails(tmp_path / "b", r"expected files that end in .*, got only '.png', '.json'; name others by a glob")
    fails(f"{tmp_path}/*.csv", "expected files that fit the pattern, found none")
    fails(tmp_path / "a.jsonk", r"found none; is it a\.jsonl\?")


def test_an_unknown_column_names_the_nearest(put):
    for name in ("x.parquet", "x.csv"):
        fails(
            put(name, ROWS), r"expected a column 'texts', got .*\(is it 'text'\?\).*; set --column", "texts"
        )
    path = put("x.jsonl", [{"texts": "good"}, {"txt": "other"}])
    fails(path, r"x\.jsonl, row 2 \(line 2\), column 'texts': .*skip-bad-rows", "texts")
    texts, reading = read(path, "texts", skip=True)
    assert (texts, dict(reading.faults.reasons)) == (["good"], {"no column of texts in texts": 1})
    fails(put("n.parquet", ROWS), "column 'n': expected text, got int64; name another with --column", "n")


def test_blank_texts_are_counted_and_others_that_are_no_text_are_bad(put):
    path = put("x.jsonl", [{"text": ""}, {"text": None}, {"text": " kept "}, {"text": 7}])
    fails(path, r"row 4 \(line 4\), column 'text': expected text, got 7")
    texts, reading = read(path, skip=True)
    assert (texts, reading.counts["empty texts"], reading.faults.reasons.total()) == ([" kept "], 2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc\0\x01", r"x\.txt: expected UTF-8 text, got a binary file"),
        ("text".encode("utf-16"), "got UTF-16"),
        (b"caf\xe9 au lait", r"expected UTF-8, got byte 0xe9 near byte 4: save it as UTF-8 \(in Latin-1"),
        (b"cut off \xc3", "half a character at the end"),
    ],
)
def test_files_that_are_no_text(put, tmp_path, content, message):
    put("x.txt", content)
    put("y.txt", "good")
    fails(tmp_path / "x.txt", message)
    texts, reading = read(tmp_path, skip=True)
    assert (texts[-1], reading.faults.reasons.total()) == ("good", 1)


def test_a_long_document_is_split_at_the_end_of_a_line_and_nothing_is_lost(put):
    content = "".join(f"line {i} of a long file: ä\n" for i in range(3 * PIECE_CHARACTERS // 25))
    for path, counted in (
        (put("x.txt", content), "further pieces of files longer than 1 MiB"),
        (put("x.parquet", [{"text": content}]), "further pieces of long texts"),
    ):
        texts, reading = read(path)
        assert "".join(texts) == content
        assert all(text.endswith("\n") and len(text) <= PIECE_CHARACTERS for text in texts)
        assert reading.counts[counted] == len(texts) - 1 > 1
    path = put("one_line.txt", "é" * (2 * PIECE_CHARACTERS + 1))
    assert "".join(read(path)[0]) == "é" * (2 * PIECE_CHARACTERS + 1)


def test_data_sets_of_the_hub_are_streamed(monkeypatch):
    def load_dataset(name, config, *, split, streaming):
        assert (name, config, split, streaming) == ("org/name", "en", "validation", True)
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    fails("org/name:en:validation", "as a dataset of the hub it was not found or did not load")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read("org/name:en:validation")[0] == ["first\ndocument", "größe 😀"]
    fails("org/name:en:validation", r"expected a column 'texts', got .*\(is it 'text'\?\)", "texts")
