import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempembed.codecs.codec import Codec
from tempembed.commands.encode import Encode, EncodeRun, encode, encode_here
from tempembed.data.documents import Documents
from tempembed.encoders.load import load_encoder
from tempembed.index import encode as one_process
from tempembed.index.shards import Encoded, arrays
from tempembed.system.errors import UserError
from tempembed.tracking.settings import TrackingSettings
from tests.conftest import make_room, small_disk

ROWS = 150


@pytest.fixture
def corpus(texts, tmp_path):
    """Files of two kinds, 700 documents, of which a shard has 150."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows[:400]), folder / "a.parquet")
    (folder / "b.jsonl").write_text("\n".join(json.dumps(row) for row in rows[400:]))
    return folder


@pytest.fixture
def run(trained, corpus, tmp_path):
    """A function: encode in this process."""

    def run(output="encoded", over=None, **flags):
        flags = {
            "model": str(trained),
            "codec": "binary",
            "data": (str(corpus),),
            "shard_rows": ROWS,
            **flags,
        }
        command, said = EncodeRun(output=str(tmp_path / output), **flags), []
        here = over or (lambda function, inputs: ((each, function(each)) for each in inputs))
        encoded = encode(command, tmp_path / output, "cpu", here, TrackingSettings(), said.append)
        return encoded, said

    return run


def sums(encoded):
    return json.loads((encoded.folder / "shards" / "manifest.json").read_text())["sha256"]


@pytest.mark.parametrize(
    "text",
    ["prefix:36+binary", "pca:16+int8", "float16", "median+rerank:unbiased:50", "rotated+rerank:float:9"],
)
def test_every_document_once_with_the_codes_of_the_codec(run, text, texts, embeddings):
    encoded, _ = run(codec=text, fit_rows=300)
    codec = Codec.load(encoded.folder / "codec")
    codes = {}
    tables = list(encoded.tables())
    assert [len(table) for table in tables] == [150, 150, 150, 150, 100]
    for number, table in enumerate(tables):
        columns = arrays(table)
        for name, values in columns.items():
            if name != "id":
                assert np.array_equal(np.load(encoded.folder / "shards" / f"{number:06d}.{name}.npy"), values)
        for place, name in enumerate(columns["id"]):
            assert name not in codes
            codes[name] = torch.from_numpy(columns["code"][place].copy())
        if codec.spec.rerank:
            assert len(columns["rerank"]) == len(table)
    assert list(codes) == [f"d{number}" for number in range(700)]
    want = codec.encode(embeddings)
    assert (
        sum(torch.equal(codes[f"d{number}"], row) for number, row in enumerate(want)) >= 695
    )  # rounding at a border


def test_processes_and_this_one_write_the_same_bytes(run, trained, corpus, tmp_path):
    here, _ = run(codec="pca:16+int8", fit_rows=300)
    command = Encode(
        model=str(trained), codec="pca:16+int8", data=(str(corpus),), shard_rows=ROWS, fit_rows=300, output=str(tmp_path / "two"),
        processes=2, device="cpu",
    )  # fmt: skip
    assert sums(encode_here(command)) == sums(here)


def test_what_is_finished_is_not_encoded_again(run, monkeypatch):
    encoded, _ = run()
    before = sums(encoded)
    shards = encoded.folder / "shards"
    (shards / "000001.parquet").unlink()
    cut = (shards / "000002.code.npy").read_bytes()
    (shards / "000002.code.npy").write_bytes(cut[:-9])
    (shards / "000003.parquet").write_bytes((shards / "000003.parquet").read_bytes()[:300])
    (shards / "manifest.json").unlink()
    (shards / ".left.parquet").touch()
    numbers, real = [], one_process.encode_part
    monkeypatch.setattr(one_process, "encode_part", lambda part: numbers.append(part.number) or real(part))
    again, said = run()
    assert numbers == [1, 2, 3]
    assert sums(again) == before
    assert any("2 of 5 shards are there, 450 documents are left" in line for line in said)
    assert not (shards / ".left.parquet").exists()


def test_an_interrupted_one_is_not_read_and_goes_on(run, tmp_path):
    def breaks(function, inputs):
        for number, each in enumerate(inputs):
            if number == 2:
                raise KeyboardInterrupt
            yield each, function(each)

    with pytest.raises(KeyboardInterrupt):
        run(over=breaks)
    with pytest.raises(UserError, match="expected all 5 shards, got 2: the encode was interrupted"):
        Encoded.open(tmp_path / "encoded")
    assert sums(run()[0]) == sums(run("other")[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"codec": "prefix:8+binary"},
            "expected the codec that its shards were made of, prefix:64\\+binary, got prefix:8",
        ),
        ({"shard_rows": 100}, "expected the --shard-rows"),
        ({"role": "query"}, "expected the role"),
    ],
)
def test_another_encode_into_the_folder_is_refused(run, flags, message):
    run()
    with pytest.raises(UserError, match=message):
        run(**flags)


def test_another_model_or_data_is_refused(run, trained, corpus, tmp_path):
    run()
    encoder = load_encoder(str(trained))
    encoder.table[9] += 0.1
    encoder.save(tmp_path / "trained further")
    with pytest.raises(UserError, match="expected the model that its shards were made of"):
        run(model=str(tmp_path / "trained further"))
    (corpus / "c.txt").write_text("one more")
    with pytest.raises(UserError, match="expected the data that its shards were made of"):
        run()


def test_ids_that_are_not_unique_are_named(run, corpus):
    (corpus / "c.jsonl").write_text('{"id": "d7", "text": "again"}')
    with pytest.raises(UserError, match="got 'd7' for documents 8 and 701; make ids unique"):
        run()


def test_a_hash_that_two_ids_share_is_no_duplicate(corpus, monkeypatch):
    monkeypatch.setattr("tempembed.data.documents._hashes", lambda ids: np.zeros(len(ids), np.uint64))
    assert Documents.of([str(corpus)]).survey(lambda line: None).num_rows == 700


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "x", "text": " "}', r"c.jsonl, row 1 \(line 1\), column 'text': expected text"),
        ('{"id": "", "text": "t"}', "expected an id, got none"),
        (
            '{"id": "x", "body": "t"}',
            "expected one column 'text' or 'document', got 'id', 'body'; set --column",
        ),
    ],
)
def test_a_bad_row_is_named_before_the_work(run, corpus, row, message, tmp_path):
    (corpus / "c.jsonl").write_text(row)
    with pytest.raises(UserError, match=message):
        run()
    assert not (tmp_path / "encoded" / "encode.json").exists()


def test_a_bad_row_of_parquet_is_named(run, corpus):
    pq.write_table(pa.table({"id": [1, 2], "text": ["a", None]}), corpus / "c.parquet")
    with pytest.raises(UserError, match=r"c.parquet, row 2, column 'text': expected text, got nothing"):
        run()


def test_documents_without_ids_have_their_numbers(run, texts, tmp_path):
    for name, part in (("a", texts[:30]), ("b", texts[30:50])):
        (tmp_path / f"{name}.txt").write_text("\n".join(part))
    encoded, _ = run(data=(str(tmp_path / "a.txt"), str(tmp_path / "b.txt")))
    assert [name for table in encoded.tables() for name in table["id"].to_pylist()] == [
        str(i) for i in range(50)
    ]


def test_a_codec_of_another_width_or_none_is_refused(run, tmp_path):
    codec = Codec.fit(Codec.load(run()[0].folder / "codec").spec.__class__(width=8), torch.randn(9, 8))
    codec.save(tmp_path / "narrow")
    with pytest.raises(UserError, match="expected a codec of its 64 coordinates, got prefix:8"):
        run("other", codec=str(tmp_path / "narrow"))
    with pytest.raises(UserError, match="expected --codec, or a model that tempembed export wrote"):
        run("other", codec=None)
    with pytest.raises(UserError, match="got rerank:int8; take rerank:float"):
        run("other", codec="binary+rerank:int8:10")


def test_an_exported_model_brings_its_codec(run, exported):
    encoded, _ = run(model=str(exported("pca:16+int8")), codec=None)
    assert str(encoded.codec().spec) == "pca:16+int8"


def test_a_full_disk_leaves_what_is_finished(run, tmp_path):
    whole, _ = run("whole", codec="float32")
    with small_disk(tmp_path, "220k") as disk:
        with pytest.raises(UserError, match=r"shard \d in .*: expected .* MB of disk"):
            run("disk/encoded", codec="float32")
        done = {path.name: path.read_bytes() for path in (disk / "encoded" / "shards").glob("*.parquet")}
        assert 1 <= len(done) < 5
        make_room(disk, "4m")
        encoded, said = run("disk/encoded", codec="float32")
        assert any(f"going on: {len(done)} of 5 shards" in line for line in said)
        assert sums(encoded) == sums(whole)
