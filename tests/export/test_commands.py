"""`tempembed export` and `tempembed search` on a local model, as their functions are called."""

import io
import json
import shutil

import pytest

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import parse_spec
from tempembed.commands.export import Export, export_command
from tempembed.commands.search import Search, search_command
from tempembed.system.errors import UserError


def test_export_then_search(trained, texts, tmp_path, capsys, monkeypatch):
    """The codec is fitted on the documents of the run's own test; the index is built once."""
    model, index = str(tmp_path / "model"), str(tmp_path / "index")
    export_command(Export(model=str(trained), codec="pca:16+int8", output=model))
    assert "fitting pca:16+int8 on 120 documents" in capsys.readouterr().err
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| objective | `16@0.05 64@0.1*0.5` |" in card
    assert "test.parquet |" in card
    assert "The codec was fitted on documents of that data;" in card
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    search_command(
        Search(model=model, queries=(texts[20],), index=index, texts=str(tmp_path / "texts.txt"), top_k=3)
    )
    found = capsys.readouterr()
    assert "building the index: there is none in" in found.err
    assert "indexed 700 texts" in found.err
    lines = found.out.splitlines()
    assert lines[0] == texts[20]
    assert lines[2].split()[:3:2] == ["1", "21"]
    assert lines[2].endswith(texts[20])
    assert len(lines) == 6
    monkeypatch.setattr("sys.stdin", io.StringIO("open socket\n\nsort queue\n"))
    search_command(Search(model=model, queries=("-",), index=index))
    found = capsys.readouterr()
    assert found.err == ""
    assert [line for line in found.out.splitlines() if line in ("open socket", "sort queue")] == [
        "open socket",
        "sort queue",
    ]
    (tmp_path / "texts.txt").write_text("other\ntexts\n")
    search_command(Search(model=model, queries=("x",), index=index, texts=str(tmp_path / "texts.txt")))
    assert "building the index: its texts fingerprint is" in capsys.readouterr().err


def test_a_long_text_is_one_line(exported, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "open\n  the\tmatrix " + "x" * 5000}))
    search_command(
        Search(
            model=str(exported("binary")),
            queries=("open",),
            index=str(tmp_path / "index"),
            texts=str(tmp_path / "a.jsonl"),
        )
    )
    last = capsys.readouterr().out.rstrip("\n").splitlines()[-1]
    assert "open the matrix xxx" in last
    assert len(last) == 128


def test_the_folder_of_tempembed_codecs(trained, embeddings, tmp_path):
    Codec.fit(parse_spec("prefix:16+binary", 64), embeddings).save(tmp_path / "codecs" / "codec")
    report = json.loads((trained / "evaluation.json").read_text())
    report["geometry"]["pca95"] = 17
    (tmp_path / "codecs" / "report.json").write_text(json.dumps(report))
    export_command(Export(model=str(trained), codec=str(tmp_path / "codecs"), output=str(tmp_path / "model")))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "in 17 of 64 dimensions" in card
    assert "| test data |" not in card
    assert (
        json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())["truncate_dim"]
        == 16
    )
    with pytest.raises(UserError, match="the codec is fitted already; leave --data out"):
        export_command(
            Export(
                model=str(trained), codec=str(tmp_path / "codecs"), data="x", output=str(tmp_path / "other")
            )
        )
    (tmp_path / "codecs" / "report.json").write_text(json.dumps({**report, "model": "runs/two"}))
    with pytest.raises(UserError, match=r"expected that of .*one, got that of runs/two"):
        export_command(
            Export(model=str(trained), codec=str(tmp_path / "codecs"), output=str(tmp_path / "other"))
        )


def test_what_does_not_fit_together(trained, exported, tmp_path):
    output = str(tmp_path / "model")
    for match, given in (
        ("expected exactly one of --alias, --version, --model and --engine", {}),
        ("expected exactly one of", {"alias": "full", "model": "runs/one"}),
        ("--model needs --codec, such as pca:128", {"model": str(trained)}),
        (
            "--name and --mlflow-uri belong to the registry",
            {"model": str(trained), "codec": "binary", "name": "a"},
        ),
        (
            "a registered version has a codec of its own; leave --codec out",
            {"alias": "full", "codec": "binary"},
        ),
    ):
        with pytest.raises(UserError, match=match):
            export_command(Export(output=output, **given))
    model, index = str(exported("binary")), str(tmp_path / "index")
    with pytest.raises(UserError, match=r"there is none in .*index; name the texts with --texts"):
        search_command(Search(model=model, queries=("a",), index=index))
    with pytest.raises(UserError, match="expected at least one query, got none"):
        search_command(Search(model=model, queries=(" ",), index=index))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"settings.json: expected the settings of a run .*; mend it or remove it"
    ):
        export_command(Export(model=str(tmp_path / "run"), codec="binary", output=output))


def test_the_card_says_if_the_codec_was_fitted_on_other_documents(trained, data_dir, tmp_path, capsys):
    changed = tmp_path / "changed"
    shutil.copytree(trained, changed)
    report = json.loads((changed / "evaluation.json").read_text())
    report["data"]["tasks"]["retrieval"]["fingerprint"] = "f" * 16
    (changed / "evaluation.json").write_text(json.dumps(report))
    export_command(Export(model=str(changed), codec="int8", output=str(tmp_path / "one")))
    why = "fitted on the test data as it is now; it has changed since the model was measured"
    assert why in capsys.readouterr().err
    assert why in (tmp_path / "one" / "README.md").read_text()
    train = str(data_dir / "train.parquet")
    export_command(Export(model=str(changed), codec="int8", data=train, output=str(tmp_path / "two")))
    assert f"fitted on documents of {train};" in (tmp_path / "two" / "README.md").read_text()
    (changed / "settings.json").unlink()
    with pytest.raises(UserError, match="expected documents to fit it on, got none; name them with --data"):
        export_command(Export(model=str(changed), codec="int8", output=str(tmp_path / "three")))
