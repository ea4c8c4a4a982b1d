import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import parse_spec
from tempembed.evaluation.report import read_report
from tempembed.export.export import FitOn, Source, export
from tempembed.export.provenance import Provenance
from tempembed.system.errors import UserError

WITHOUT_TEMPEMBED = """
import runpy, sys
import numpy as np

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tempembed":
            raise ImportError("blocked")

sys.meta_path.insert(0, Block())
from sentence_transformers import SentenceTransformer

binary, floats, out = sys.argv[1:]
texts = ["open the matrix", "sort queue and return self", "def close socket: é"]
np.savez(
    out, ubinary=SentenceTransformer(binary).encode_document(texts, precision="ubinary"), floats=SentenceTransformer(binary).encode_document(texts),
    query=SentenceTransformer(binary).encode_query(texts),
)
runpy.run_path(binary + "/example.py")
runpy.run_path(floats + "/example.py")
assert not [name for name in sys.modules if name.startswith("tempembed")]
"""


def test_plain_sentence_transformers_loads_cuts_and_binarises(exported, trained, tmp_path):
    """In a process that cannot import tempembed; the bits are the codec's own."""
    binary, floats = exported("prefix:36+binary+rerank:bits:10"), exported("prefix:20+float16")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TEMPEMBED, binary, floats, tmp_path / "found.npz"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5 bytes a document" in done.stdout
    assert "40 bytes a document" in done.stdout
    found = np.load(tmp_path / "found.npz")
    texts = ["open the matrix", "sort queue and return self", "def close socket: é"]
    full = SentenceTransformer(str(trained)).encode_document(texts)
    assert found["floats"].shape == (3, 36)
    np.testing.assert_array_equal(found["floats"], full[:, :36])
    as_queries = SentenceTransformer(str(trained)).encode(texts, prompt="Q7: ")
    assert not np.array_equal(as_queries, full)
    np.testing.assert_array_equal(found["query"], as_queries[:, :36])
    codes = Codec.load(binary / "codec").encode(torch.from_numpy(full))
    np.testing.assert_array_equal(found["ubinary"], codes.numpy())


@pytest.mark.parametrize("text", ["binary", "prefix:8+binary", "prefix:12+binary", "prefix:61+binary"])
def test_ubinary_is_the_codecs_code_bit_for_bit(text, exported, texts, embeddings):
    folder = exported(text)
    model = SentenceTransformer(str(folder))
    codes = model.encode_document(texts, precision="ubinary")
    full = torch.from_numpy(model.encode_document(texts, truncate_dim=64))
    np.testing.assert_array_equal(codes, Codec.load(folder / "codec").encode(full).numpy())
    assert codes.shape[1] == parse_spec(text, 64).bytes_per_vector
    # our own pass over the tokens adds up in another order: hardly a bit differs
    ours = Codec.load(folder / "codec").encode(embeddings).numpy()
    assert np.unpackbits(ours ^ codes).mean() < 1e-4


SPECS = (
    "float32",
    "prefix:20+float16",
    "binary",
    "prefix:36+binary+rerank:bits:10",
    "pca:16+int8",
    "pca:16+itq",
)


@pytest.mark.parametrize(
    "text", [*SPECS, "prefix:32+int8", "prefix:33+int4", "binary+rerank:unbiased:20", "pq:8"]
)
def test_the_example_prints_the_codecs_scores(text, exported, capsys):
    folder = exported(text)
    ran = runpy.run_path(str(folder / "example.py"))
    codec = Codec.load(folder / "codec")
    model = SentenceTransformer(str(folder))
    q, d = (
        torch.from_numpy(encode(ran[name], truncate_dim=64, convert_to_numpy=True))
        for name, encode in (("queries", model.encode_query), ("documents", model.encode_document))
    )
    want = codec.score(q, codec.encode(d))
    if codec.spec.rerank == "bits":
        want = codec.cut(q) @ codec.numbers.decode(codec.encode(d)).T
    np.testing.assert_allclose(ran["scores"], want.numpy(), rtol=1e-5, atol=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{codec.spec.search_bytes} bytes a document"
    assert [float(line.split()[0]) for line in lines[1:]] == pytest.approx(
        sorted(want[0].tolist(), reverse=True), abs=1e-4
    )


def test_a_fitted_codec_is_copied_byte_for_byte(trained, embeddings, tmp_path):
    Codec.fit(parse_spec("pca:16+int8", 64), embeddings).save(tmp_path / "codec")
    source = Source(model=trained, provenance=Provenance(codec="pca:16+int8"), codec=tmp_path / "codec")
    folder = export(source, tmp_path / "out", None)
    for name in ("codec.json", "codec.safetensors"):
        assert (folder / "codec" / name).read_bytes() == (tmp_path / "codec" / name).read_bytes()
    model = SentenceTransformer(str(folder))
    assert model.truncate_dim is None
    assert model.encode(["open"]).shape == (1, 64)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {
        folder.stat().st_mode & 0o666
    }


def test_a_fitted_codec_learned_from_the_documents(exported, embeddings):
    codec = Codec.load(exported("pca:16+int8") / "codec")
    again = Codec.fit(parse_spec("pca:16+int8", 64), embeddings)
    torch.testing.assert_close(codec.reconstruct(embeddings), again.reconstruct(embeddings), rtol=0, atol=0)


@pytest.mark.parametrize(
    "text", ["prefix:16+float32", "random:16:2", "prefix:16+rotated", "prefix:16+float16", "binary"]
)
def test_what_learns_nothing_is_the_same_for_all_documents(text, embeddings):
    spec = parse_spec(text, 64)
    assert not spec.learns
    one, other = Codec.fit(spec, embeddings[:1]), Codec.fit(spec, embeddings)
    assert torch.equal(one.encode(embeddings), other.encode(embeddings))


@pytest.mark.parametrize(
    "text", ["variance:16", "pca:16", "whiten:16", "int8", "int4", "median", "itq", "pq:8"]
)
def test_what_learns(text):
    assert parse_spec(text, 64).learns


def test_the_card_has_the_measured_table(trained, texts, tmp_path):
    provenance = Provenance(
        codec="pca:16+int8", objective="tempaggmrl", terms=("16@0.05", "64@0.1*0.5"), encoder="static", seed=3, data="code",
        data_fingerprint="0123456789abcdef", test_data="a tenth", registered_name="tempembed-code", version="7",
        alias="bytes-16", run_id="f00d",
    )  # fmt: skip
    card = (
        export(Source.of_folder(trained, provenance), tmp_path / "out", lambda: FitOn(texts=texts))
        / "README.md"
    ).read_text()
    _, front, body = card.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["library_name"] == "sentence-transformers"
    assert front["pipeline_tag"] == "sentence-similarity"
    assert "tempembed" in front["tags"]
    report = json.loads((trained / "evaluation.json").read_text())
    for row in report["scores"]:
        if row["spec"] in ("pca:16+int8", "prefix:64+float32"):
            kept = (
                f"{row['retention']:.3f} | {row['retention_ci_low']:.3f} - {row['retention_ci_high']:.3f} |"
            )
            cells = f"| `{row['spec']}` | {row['bytes_per_vector']} | {row['score']:.4f} | {row['ci_low']:.4f} - {row['ci_high']:.4f} | {kept}"
            assert cells in body
    assert body.count("| **this** | `pca:16+int8` | 16 |") == 2  # retrieval and clustering
    for fact in (
        "# tempembed-code 7: text embeddings of 16 bytes", "`16@0.05`, `64@0.1*0.5`", "fingerprint `0123456789abcdef`",
        "tempembed-code version 7, alias `bytes-16`", "`f00d`", "static, 64 coordinates, seed 3", "| test data | a tenth |",
        report["data"]["tasks"]["retrieval"]["fingerprint"], f"{report['geometry']['pca95']} of 64 dimensions",
        "Texts are cut after 32 tokens", "does not see the order of words", "The codec was fitted on documents",
    ):  # fmt: skip
        assert fact in body, fact
    assert (tmp_path / "out" / "example.py").read_text().rstrip() in body


def test_the_card_says_what_was_not_measured(exported, trained, tmp_path):
    card = (exported("prefix:33+int4") / "README.md").read_text()
    assert "| **this** | `prefix:33+int4` | 17 | not measured |" in card
    assert "the first 33 coordinates" in card
    source = Source(model=trained, provenance=Provenance(codec="binary"))
    card = (export(source, tmp_path / "out", None) / "README.md").read_text()
    assert "nothing is known" in card
    assert "objective" not in card
    assert "fitted on documents" not in card


def test_an_earlier_folder_is_left_alone(trained, tmp_path):
    source = Source(model=trained, provenance=Provenance(codec="binary"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(UserError, match="expected a new or empty folder, found something there"):
        export(source, tmp_path / "full", None)
    with pytest.raises(UserError, match="expected a new or empty folder"):
        export(source, tmp_path / "full" / "mine", None)
    (tmp_path / "empty").mkdir()
    assert export(source, tmp_path / "empty", None) == tmp_path / "empty"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_what_cannot_be_exported(trained, embeddings, tmp_path):
    def fails(codec, match, documents=None, fitted=None):
        source = Source(model=trained, provenance=Provenance(codec=codec), codec=fitted)
        with pytest.raises(UserError, match=match):
            export(source, tmp_path / "out", documents)
        assert not [path for path in tmp_path.iterdir() if "out" in path.name]

    fails(
        "pca:16+int8", r"codec pca:16\+int8: expected documents to fit it on, got none; name them with --data"
    )
    fails("pq:8", "expected at least 256 documents to learn from, got 2", lambda: FitOn(texts=["one", "two"]))
    fails("prefix:65", "the model has 64 coordinates, got width 65")
    Codec.fit(parse_spec("binary", 32), embeddings[:, :32]).save(tmp_path / "narrow")
    fails(
        "binary",
        "expected a codec of its 64 coordinates, got prefix:32[+]binary fitted on 32",
        fitted=tmp_path / "narrow",
    )
    Codec.fit(parse_spec("binary", 64), embeddings).save(tmp_path / "other")
    fails("prefix:16+binary", r"expected prefix:16\+binary, got prefix:64\+binary", fitted=tmp_path / "other")
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(UserError, match="expected a report of tempembed evaluate, and could not read it"):
        read_report(tmp_path / "report.json")
