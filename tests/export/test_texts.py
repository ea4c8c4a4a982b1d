import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.texts import open_texts
from tempembed.system.errors import UserError

TEXTS = ['one, "two"', "drei é", "  four\tfive", "six"]


def write(path, texts, column="text"):
    """The texts in the form that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": list(range(len(texts))), column: texts}), path)
    elif path.suffix in (".csv", ".tsv"):
        comma = "," if path.suffix == ".csv" else "\t"
        rows = ['"' + text.replace('"', '""') + '"' for text in texts]
        path.write_text(f"id{comma}{column}\n" + "".join(f"{i}{comma}{row}\n" for i, row in enumerate(rows)))
    elif path.suffix == ".txt":
        path.write_text("\n\n".join(texts))
    else:
        path.write_text(
            "\ufeff" + "\n".join(json.dumps({column: text, "id": i}) for i, text in enumerate(texts))
        )
    return path


def read(path):
    return [chunk for chunk in open_texts(str(path)).chunks()]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.ndjson", "a.json", "a.csv", "a.TSV", "a.parquet"])
def test_every_kind_of_file(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempembed.data.texts.CHUNK_TEXTS", 3)
    path = tmp_path / name
    write(path.with_suffix(path.suffix.lower()), TEXTS).rename(path)
    assert read(path) == [TEXTS[:3], TEXTS[3:]]


def test_long_texts_come_fewer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempembed.data.texts.CHUNK_CHARACTERS", 25)
    (tmp_path / "a.txt").write_text("\n".join(["x" * 10] * 4 + ["y" * 60]))
    assert [list(map(len, chunk)) for chunk in read(tmp_path / "a.txt")] == [[10, 10, 10], [10, 60]]


def test_a_column_document_will_do(tmp_path):
    assert read(write(tmp_path / "a.parquet", TEXTS, "document")) == [TEXTS]


def test_lines_may_end_as_on_windows(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")
    assert read(tmp_path / "a.txt") == [["one", "two"]]


def test_the_fingerprint_is_of_the_content(tmp_path):
    one, same, other = (
        write(tmp_path / f"{i}.txt", texts) for i, texts in enumerate([TEXTS, TEXTS, TEXTS[1:]])
    )
    assert (
        open_texts(str(one)).fingerprint
        == open_texts(str(same)).fingerprint
        != open_texts(str(other)).fingerprint
    )


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"", "a.txt: expected texts, got none"),
        ("a.txt", b"\n \n", "expected texts, got none"),
        ("a.txt", b"one\n\xfftwo\n", r"a.txt, row 2 \(line 2\), column 'text': expected UTF-8, got byte 0xff"),
        ("a.txt", "one".encode("utf-16"), "expected UTF-8 text, got UTF-16; save it again as UTF-8"),
        ("a.pdf", b"one", r"expected installed-code, .* or a file that ends in \.txt, .*, got '\.pdf'; convert it"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": " "}', r"row 2 \(line 3\), column 'text': expected text, got ' ' \(empty\)"),
        ("a.jsonl", b'{"body": "a"}', r"row 1 \(line 1\): expected a column 'text' or 'document', got 'body': rename"),
        ("a.jsonl", b'{"text": "a", "document": "b"}', "expected one of 'text', 'document', got both"),
        ("a.jsonl", b'{"text": 3}', "column 'text': expected text, got 3"),
        ("a.jsonl", b"{", "expected one JSON object per line"),
        ("a.csv", b"text\n", "expected texts, got none"),
        ("a.csv", b"", "expected a column 'text' or 'document', got none"),
        ("a.csv", b"name,text\na,b\nc\n", r"row 2 \(line 3\): expected 2 cells as in the header, got 1"),
        ("a.csv", b"name,body\na,b\n", "expected a column 'text' or 'document', got 'name', 'body'"),
        ("a.parquet", b"PAR1", "expected a whole Parquet file"),
    ],
)  # fmt: skip
def test_bad_files(name, content, match, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=match):
        read(tmp_path / name)


def test_bad_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(
        UserError, match=r"a.parquet, row 2, column 'text': expected text, got nothing \(null\)"
    ):
        read(path)
    pq.write_table(pa.table({"text": [1]}), path)
    with pytest.raises(UserError, match="column 'text': expected text, got int64"):
        read(path)
    pq.write_table(pa.table({"body": ["a"]}), path)
    with pytest.raises(UserError, match="expected a column 'text' or 'document', got 'body'"):
        read(path)
    write(path, [f"some text of number {i}" for i in range(2000)])
    content = bytearray(path.read_bytes())
    content[20_000] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"Parquet file, it is damaged|row .*expected"):
        read(path)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="found no such file; check the path"):
        open_texts(str(tmp_path / "a.txt"))
