import json

import pytest
import torch

from tempembed.codecs.codec import Codec
from tempembed.data.texts import open_texts
from tempembed.index.compressed import build_index, mismatch, open_index
from tempembed.index.exported import load_exported
from tempembed.index.hamming import hamming_top_k
from tempembed.index.nearest import search_index
from tempembed.index.top_k import Reranker
from tempembed.system.errors import UserError

QUERIES = ["open the matrix", "sort queue and return self", "render image calendar"]
PLAIN = (
    "float32", "prefix:20+float16", "prefix:32+int8", "pca:16+int8", "prefix:33+int4", "whiten:12+float32", "pq:8",
    "binary", "prefix:36+binary", "prefix:9+median", "pca:16+itq", "random:40+rotated",
)  # fmt: skip
RERANKED = (
    "binary+rerank:bits:10", "prefix:36+binary+rerank:bits:30", "pca:16+itq+rerank:bits:40", "median+rerank:unbiased:50",
    "binary+rerank:int8:20", "prefix:36+binary+rerank:float:20",
)  # fmt: skip


@pytest.fixture
def file(texts, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    return str(tmp_path / "texts.txt")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Several chunks and blocks."""
    monkeypatch.setattr("tempembed.data.texts.CHUNK_TEXTS", 150)
    monkeypatch.setattr("tempembed.index.compressed.CHUNK_TEXTS", 150)
    monkeypatch.setattr("tempembed.index.top_k.BLOCK_FLOATS", 64 * 100)


def built(folder, file, output):
    exported = load_exported(folder)
    build_index(exported, open_texts(file), output)
    return open_index(output, exported)


@pytest.mark.parametrize("text", PLAIN)
def test_search_equals_brute_force(text, exported, texts, file, embeddings, tmp_path):
    folder = exported(text)
    index = built(folder, file, tmp_path / "index")
    codec = Codec.load(folder / "codec")
    codes = codec.encode(embeddings)
    assert torch.equal(index.codes_MB, codes)
    assert (
        (tmp_path / "index" / "codes.bin").stat().st_size
        == len(texts) * codec.spec.search_bytes
        == codes.nbytes
    )
    assert codec.spec.rerank_bytes == 0
    assert not (tmp_path / "index" / "rerank.bin").exists()
    want = codec.score(index.exported.embed(QUERIES, "query"), codes)
    for hits, scores in zip(search_index(index, QUERIES, 12), want, strict=True):
        rows = [hit.row for hit in hits]
        assert [hit.text for hit in hits] == [texts[row] for row in rows]
        assert len(set(rows)) == 12
        found = torch.tensor([hit.score for hit in hits])
        torch.testing.assert_close(found, scores.topk(12).values, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found, scores[rows], rtol=1e-5, atol=1e-6)
        if codec.spec.is_bits:  # whole numbers: of equal ones the higher row first
            assert rows == sorted(range(len(texts)), key=lambda row: (-scores[row].item(), -row))[:12]


@pytest.mark.parametrize("text", RERANKED)
def test_re_ranking_equals_the_reranker(text, exported, texts, file, embeddings, tmp_path):
    folder = exported(text)
    index = built(folder, file, tmp_path / "index")
    codec = Codec.load(folder / "codec")
    spec = codec.spec
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "index").glob("*.bin")}
    assert sizes["codes.bin"] == len(texts) * spec.search_bytes
    assert sizes["codes.bin"] + sizes.get("rerank.bin", 0) == len(texts) * spec.bytes_per_vector
    queries, documents = codec.cut(index.exported.embed(QUERIES, "query")), codec.cut(embeddings)
    bits = codec.numbers
    _, candidates = hamming_top_k(bits.encode(queries), bits.encode(documents), spec.depth)
    want = Reranker(spec.rerank, bits, documents)(queries, candidates)[:, :8]
    for hits, rows in zip(search_index(index, QUERIES, 8), want.tolist(), strict=True):
        assert [hit.row for hit in hits] == rows
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_re_ranks_as_many_as_are_asked_for(exported, file, tmp_path):
    index = built(exported("binary+rerank:bits:10"), file, tmp_path / "index")
    assert [len(hits) for hits in search_index(index, QUERIES, 25)] == [25] * 3
    assert [len(hits) for hits in search_index(index, QUERIES, 5000)] == [700] * 3


def test_a_text_finds_itself(exported, texts, file, tmp_path):
    index = built(exported("pca:16+int8"), file, tmp_path / "index")
    found = [hits[0].text for hits in search_index(index, texts[::70], 1)]
    assert found == texts[::70]


def test_an_index_of_another_model_codec_or_file_is_refused(exported, trained, texts, file, tmp_path):
    folder, output = exported("pca:16+int8"), tmp_path / "index"
    ours = built(folder, file, output).exported
    assert mismatch(output, ours, open_texts(file)) is None
    other = load_exported(exported("binary"))
    with pytest.raises(
        UserError, match=r"its codec is pca:16\+int8, now it is prefix:64\+binary; build it again"
    ):
        open_index(output, other)
    again = Codec.fit(ours.codec.spec, ours.embed(texts[:300], "document"))
    again.save(tmp_path / "changed")
    from tempembed.index.exported import Exported, codec_fingerprint

    changed = Exported(
        encoder=ours.encoder, codec=again, model_fingerprint=ours.model_fingerprint,
        codec_fingerprint=codec_fingerprint(tmp_path / "changed"),
    )  # fmt: skip
    with pytest.raises(UserError, match="its codec fingerprint is"):
        open_index(output, changed)
    further_trained = load_exported(folder)
    with torch.no_grad():
        further_trained.encoder.table[0, 0] += 1
    changed = Exported(
        encoder=further_trained.encoder, codec=ours.codec, codec_fingerprint=ours.codec_fingerprint,
        model_fingerprint=further_trained.encoder.fingerprint(),
    )  # fmt: skip
    with pytest.raises(UserError, match="its model fingerprint is"):
        open_index(output, changed)
    (tmp_path / "more.txt").write_text("one more\n")
    assert "texts fingerprint" in mismatch(output, ours, open_texts(str(tmp_path / "more.txt")))


def test_a_damaged_index_is_refused(exported, file, tmp_path):
    output = tmp_path / "index"
    ours = built(exported("binary+rerank:unbiased:10"), file, output).exported
    with (output / "rerank.bin").open("ab") as rerank:
        rerank.write(b"x")
    with pytest.raises(UserError, match=r"it is damaged: expected 1,400 bytes in rerank.bin, got 1,401"):
        open_index(output, ours)
    (output / "rerank.bin").unlink()
    with pytest.raises(UserError, match=r"it is damaged .UserError.*rerank.bin"):
        open_index(output, ours)
    (output / "index.json").write_text("{}")
    with pytest.raises(UserError, match=r"it is damaged .KeyError"):
        open_index(output, ours)


def test_building_is_whole_or_not_at_all(exported, texts, file, tmp_path):
    """An index is replaced, anything else is left alone, and what fails leaves the old one."""
    ours, output = load_exported(exported("binary")), tmp_path / "index"
    said = []
    build_index(ours, open_texts(file), output, said.append)
    assert "indexed 700 texts" in said[-1]
    assert "5,600 bytes of codes" in said[-1]
    (tmp_path / "bad.jsonl").write_text(json.dumps({"text": "good"}) + "\n" + json.dumps({"text": ""}))
    with pytest.raises(UserError, match=r"row 2 \(line 2\), column 'text'"):
        build_index(ours, open_texts(str(tmp_path / "bad.jsonl")), output)
    assert len(open_index(output, ours)) == 700
    (tmp_path / "one.txt").write_text("one")
    build_index(ours, open_texts(str(tmp_path / "one.txt")), output)
    assert [hit.text for hit in search_index(open_index(output, ours), ["two"], 5)[0]] == ["one"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.json").write_text("{}")
    (tmp_path / "mine" / "thesis").write_text("x")
    with pytest.raises(UserError, match="expected a new folder or an index, found something else there"):
        build_index(ours, open_texts(file), tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {
        "index",
        "mine",
        "texts.txt",
        "bad.jsonl",
        "one.txt",
    }


def test_bad_questions(exported, trained, file, tmp_path):
    index = built(exported("binary"), file, tmp_path / "index")
    with pytest.raises(UserError, match="--top-k: expected at least 1, got 0"):
        search_index(index, QUERIES, 0)
    with pytest.raises(UserError, match="query: expected text, got none"):
        search_index(index, ["a", " "], 1)
    with pytest.raises(
        UserError, match=r"expected a folder that tempembed export wrote, found no codec/codec.json"
    ):
        load_exported(trained)
