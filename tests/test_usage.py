"""What people do to the commands: a place that is taken, a model of another, a pipe that closes."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tempembed.codecs.codec import check_finite
from tempembed.commands.local_run import check_output
from tempembed.commands.measure import check_new
from tempembed.commands.plan import Plan, plan_command
from tempembed.commands.search import MOST_BYTES, checked_query
from tempembed.encoders.load import load_encoder
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.encoders.transformer import transformer_encoder
from tempembed.evaluation.pairs import STS
from tempembed.evaluation.report_files import report_files
from tempembed.evaluation.store import EmbeddingStore
from tempembed.geometry.tsne import tsne
from tempembed.system.console import run
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place
from tempembed.tracking.uri import check_uri
from tempembed.tuning.study import Study
from tests.commands import tempembed
from tests.conftest import small_disk

TEXTS = [f"open the socket {i} and read a matrix" for i in range(60)]


@pytest.fixture
def encoder():
    return static_encoder(train_tokenizer(TEXTS, 120), width=16, max_tokens=32, seed=0)


def test_a_report_does_not_replace_the_data_nor_what_is_no_report(tmp_path):
    data = tmp_path / "test.parquet"
    data.write_text("data")

    def check(name):
        output = tmp_path / name
        check_new("--output", output, report_files(output), [str(data)])

    with pytest.raises(UserError, match=r"test\.parquet would be written over"):
        check("test.json")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(UserError, match=r"a report of ours to replace, found .*notes\.json"):
        check("notes.json")
    (tmp_path / "table.parquet").write_text("mine")
    with pytest.raises(UserError, match=r"found .*table\.parquet"):
        check("table.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check("folder.json")
    (tmp_path / "old.json").write_text(json.dumps({"scores": [], "data": {}, "geometry": {}}))
    check("old.json")
    check("new.json")


def test_a_folder_with_something_is_not_trained_into(tmp_path):
    check_output(tmp_path / "new", resume=False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"expected a new or empty folder, found config\.json"):
        check_output(tmp_path, resume=False)


def test_a_place_below_a_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"expected a folder above it, .*notes\.txt is none"):
        check_place(tmp_path / "notes.txt" / "a" / "b", "--output")
    with pytest.raises(UserError, match=r"got ~, which a shell replaces only outside quotes"):
        check_place(Path("~/model"), "--output")


def test_mlflows_address(tmp_path):
    assert check_uri(str(tmp_path / "new.db")) == f"sqlite:///{tmp_path / 'new.db'}"
    assert check_uri("postgresql+psycopg2://me@host/db").startswith("postgresql")
    with pytest.raises(UserError, match="got ftp://"):
        check_uri("ftp://host")
    (tmp_path / "text.db").write_text("no database at all, but a long text" * 30)
    with pytest.raises(UserError, match="could not read it as one"):
        check_uri(str(tmp_path / "text.db"))
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table mine (x)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(UserError, match=r"found one with other tables \(mine\)"):
        check_uri(f"sqlite:///{tmp_path / 'other.db'}")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_damaged_part_of_the_cache_is_embedded_again(tmp_path, encoder):
    want = EmbeddingStore(tmp_path, encoder).embed(TEXTS, "document")
    (keys,) = tmp_path.glob("*/*.keys.npy")
    (rows,) = tmp_path.glob("*/*.rows.npy")
    whole = {path: path.read_bytes() for path in (keys, rows)}

    def flipped(content):
        return content[:-1] + bytes([content[-1] ^ 1])

    damages = [(rows, whole[rows][:-40]), (keys, b""), (rows, b"x" * 500), (rows, flipped(whole[rows]))]
    for path, content in [*damages, (keys, flipped(whole[keys]))]:
        path.write_bytes(content)
        said = []
        assert torch.equal(EmbeddingStore(tmp_path, encoder, said.append).embed(TEXTS, "document"), want)
        assert "its texts are embedded again" in said[0]
        assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == whole
    np.save(rows, np.zeros((3, 16), np.float32))
    assert torch.equal(EmbeddingStore(tmp_path, encoder).embed(TEXTS, "document"), want)


def test_a_model_without_its_tokenizer(tmp_path):
    transformer_encoder(train_tokenizer(TEXTS, 120), width=16, layers=1, max_tokens=32, seed=0).save(
        tmp_path / "m"
    )
    load_encoder(str(tmp_path / "m"))
    for path in (tmp_path / "m").glob("**/*token*"):
        path.unlink()
    with pytest.raises(UserError, match=r"model .*(expected a tokenizer that knows words|could not load)"):
        load_encoder(str(tmp_path / "m"))


def test_a_model_without_some_of_its_weights(tmp_path):
    """Transformers would draw them at random."""
    folder = tmp_path / "m"
    transformer_encoder(train_tokenizer(TEXTS, 120), width=16, layers=2, max_tokens=32, seed=0).save(folder)
    weights = load_file(folder / "model.safetensors")
    left = {name: tensor for name, tensor in weights.items() if "layer.1" not in name}
    save_file(left, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"expected all weights of a BertModel, 16 are missing: encoder\.layer\.1"
    ):
        load_encoder(str(folder))
    save_file(
        {name: tensor for name, tensor in weights.items() if "pooler" not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    load_encoder(str(folder))
    save_file(weights | {"cls.bias": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "0_Transformer").mkdir()
    for file in [path for path in folder.iterdir() if path.is_file() and path.name != "modules.json"]:
        shutil.copy(file, folder / "0_Transformer")
        if file.name != "config_sentence_transformers.json":
            file.unlink()
    (folder / "modules.json").write_text(json.dumps(modules))
    load_encoder(str(folder))  # a head that no embedding needs
    save_file(left, folder / "0_Transformer" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="16 are missing"):
        load_encoder(str(folder))


def test_embeddings_that_no_one_can_square():
    for scale, shown in ((1e30, "1e[+]30"), (1e-30, "1e-30")):
        rows = torch.ones(4, 8)
        rows[2] *= scale
        with pytest.raises(UserError, match=f"largest coordinate of {shown} in row 2 and 0 more"):
            check_finite(rows)
    check_finite(torch.eye(4, 8).index_fill_(0, torch.tensor([1]), 0.0))


def test_no_memory(capsys):
    with pytest.raises(SystemExit, match="2"):
        run(lambda: torch.empty(2**50, dtype=torch.uint8))
    assert "error: the memory is full" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(lambda: bytearray(2**62))
    assert "error: the memory is full" in capsys.readouterr().err


def test_a_disk_that_is_full_for_numpy_and_for_safetensors(tmp_path, capsys):
    with small_disk(tmp_path, "100k") as disk:
        for write in (
            lambda: np.save(disk / "a.npy", np.zeros(10**6)),
            lambda: save_file({"a": torch.zeros(10**6)}, disk / "a.safetensors"),
            lambda: (disk / "a.txt").write_text("x" * 10**6),
        ):
            with pytest.raises(SystemExit, match="2"):
                run(write)
            assert "error: the disk is full" in capsys.readouterr().err
            for file in disk.iterdir():
                file.unlink()
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for write in (
            lambda: train_tokenizer(TEXTS, 120).save(str(disk / "tokenizer.json")),
            lambda: Study(
                disk / "study.db", num_goals=1, families=("infonce",), width=64, sampler="tpe", seed=0
            ),
        ):
            with pytest.raises(SystemExit, match="2"):
                run(write)
            assert "error: the disk is full" in capsys.readouterr().err
        for file in disk.iterdir():
            file.unlink()
        encoder = static_encoder(train_tokenizer(TEXTS, 120), width=1024, max_tokens=32, seed=0)
        with pytest.raises(OSError, match=r"written|No space|free space"):
            EmbeddingStore(disk, encoder).embed(TEXTS, "document")
        assert not list(disk.glob("*/*"))


def test_two_processes_find_the_same_damage(tmp_path, encoder):
    want = EmbeddingStore(tmp_path, encoder).embed(TEXTS, "document")
    store = EmbeddingStore(tmp_path, encoder)
    for file in tmp_path.glob("*/*.npy"):  # what another one does with a damaged part
        file.unlink()
    assert torch.equal(store.embed(TEXTS, "document"), want)


def test_an_index_that_is_not_finished_leaves_nothing(tmp_path, encoder):
    encoder.save(tmp_path / "m")
    assert (
        tempembed(
            "export", "--model", tmp_path / "m", "--codec", "binary", "--output", tmp_path / "e"
        ).returncode
        == 0
    )
    (tmp_path / "many.txt").write_text("open the socket and read a matrix\n" * 500_000)
    command = [sys.executable, "-m", "tempembed.cli", "search", tmp_path / "e", "q", "--texts", tmp_path / "many.txt",
               "--index", tmp_path / "many.index"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as search:
        assert search.stderr is not None
        while not list(tmp_path.glob(".many.index.*")):
            assert search.poll() is None
            time.sleep(0.01)
        search.terminate()
        assert search.wait(60) == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"m", "e", "many.txt"}


def test_queries():
    assert checked_query(" where \n") == "where"
    with pytest.raises(UserError, match="expected queries of at most"):
        checked_query("x" * (MOST_BYTES + 1))
    with pytest.raises(UserError, match="expected queries in UTF-8"):
        checked_query("caf\udce9")


@pytest.mark.parametrize(("encoder", "tokens"), [("transformer", 700), ("static", 100_000)])
def test_a_plan_for_long_texts(encoder, tokens, capsys):
    plan_command(
        Plan(encoder=encoder, width=16, layers=1, vocabulary=400, batch_size=2, num_workers=1, tokens=tokens)
    )
    assert "negatives" in capsys.readouterr().out


def test_spaces_without_a_map():
    assert tsne(torch.ones(30, 1)) is None
    assert tsne(torch.full((30, 4), torch.nan)) is None
    assert tsne(1e-42 * torch.randn(30, 4)) is None


def test_scores_that_do_not_differ():
    with pytest.raises(UserError, match="expected scores that differ"):
        STS(name="t", queries=["a", "b"], documents=["c", "d"], left=[0, 1], right=[0, 1], scores=[1.0, 1.0])


def test_a_reader_that_leaves(data_dir, tmp_path):
    flags = ("train", "--data", data_dir / "train.parquet", "--width", 16, "--vocabulary", 400, "--batch-size", 32,
             "--steps", 12, "--log-every", 1, "--output", tmp_path / "run")  # fmt: skip
    command = [sys.executable, "-m", "tempembed.cli", *map(str, flags)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    process.stderr.readline()
    process.stderr.close()  # as `2>&1 | head -1` does
    assert process.wait(120) == 0
    assert (tmp_path / "run" / "modules.json").exists()
    read, write = os.pipe()
    os.close(read)
    command = [Path(sys.executable).with_name("tempembed"), "--help"]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert b"Traceback" not in process.communicate(timeout=60)[1]


def test_a_codec_of_another_model_of_the_same_name(data_dir, tmp_path):
    data = ("--data", data_dir / "test.parquet")
    for seed in (1, 2):
        done = tempembed(
            "train", "--data", data_dir / "train.parquet", "--width", 32, "--vocabulary", 400, "--batch-size", 32,
            "--steps", 10, "--seed", seed, "--output", tmp_path / str(seed) / "best",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    codecs = tmp_path / "codecs"
    done = tempembed("codecs", tmp_path / "1" / "best", *data, "--bytes", 24, "--output", codecs)
    assert done.returncode == 0, done.stderr
    rows = json.loads((codecs / "report.json").read_text())["scores"]
    assert any(row["bytes_per_vector"] == 24 for row in rows)  # not only powers of two
    done = tempembed(
        "export", "--model", tmp_path / "2" / "best", "--codec", codecs, "--output", tmp_path / "out"
    )
    assert done.returncode == 2
    assert "got one of another model of that name" in done.stderr
    done = tempembed(
        "export", "--model", tmp_path / "1" / "best", "--codec", codecs, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    done = tempembed("codecs", tmp_path / "1" / "best", *data, "--bytes", 0, "--output", tmp_path / "none")
    assert done.returncode == 2
    assert "--bytes: expected >= 1, got 0" in done.stderr
    shutil.rmtree(codecs)
