"""The command line as a user meets it."""

import json
import re
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tempembed.cli import COMMANDS, settings_of
from tempembed.codecs.codec import Codec
from tests.commands import tempembed

SMALL = ("--width", "64", "--vocabulary", "400", "--batch-size", "32", "--steps", "10")


HEAVY = {
    "torch",
    "numpy",
    "pyarrow",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "mteb",
    "mlflow",
    "ray",
    "numba",
    "faiss",
}


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom tempembed.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "tyro" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_settings_say(name):
    title, line = COMMANDS[name]
    settings = settings_of(name)
    assert settings.__name__ == title
    assert settings.__doc__.splitlines()[0] == line


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "one"
    data = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet")
    done = tempembed("train", *data, "--terms", "16@0.05", "64@0.1*0.5", *SMALL, "--output", output)
    assert done.returncode == 0, done.stderr
    return output, done


def test_train(trained):
    output, done = trained
    assert "step 10/10  loss" in done.stderr
    assert "pairs/s" in done.stderr
    assert SentenceTransformer(str(output)).encode(["open the matrix"]).shape == (1, 64)
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 10
    assert "train/loss/dim_16_temperature_0.05" in lines[-1]
    assert json.loads((output / "settings.json").read_text())["terms"] == ["16@0.05", "64@0.1*0.5"]


def test_interrupted_and_resumed(trained, data_dir, tmp_path):
    data = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet")
    flags = ("train", *data, *SMALL[:-2], "--steps", 300, "--log-every", 5, "--output", tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-m", "tempembed.cli", *map(str, flags)], stderr=subprocess.PIPE, text=True
    )
    seen = next(line for line in process.stderr if line.startswith("step "))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + signal.SIGINT, seen + said
    assert "stopped with a checkpoint; go on with --resume" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "modules.json").exists()
    done = tempembed(*flags, "--resume")
    assert done.returncode == 0, done.stderr
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(5, 301, 5))


def test_evaluate(trained, data_dir, tmp_path):
    report = tmp_path / "report.json"
    source = ("--data", data_dir / "test.parquet", "--cache", tmp_path / "cache")
    done = tempembed("evaluate", trained[0], *source, "--output", report)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    at_training = json.loads((trained[0] / "evaluation.json").read_text())["scores"]
    rows = {(row["task"], row["spec"]): row for row in found["scores"]}
    both = [row for row in at_training if (row["task"], row["spec"]) in rows and row["codec"] != "random"]
    assert {(row["task"], row["codec"]) for row in both} >= {
        ("retrieval", "float32"), ("retrieval", "binary_rerank"), ("clustering", "binary")
    }  # fmt: skip
    # vectors as the model gives them are scored by `evaluate` only, where their lengths matter
    raw = {row["task"] for row in rows.values() if row["raw_score"] is not None}
    assert raw == {"clustering"}
    assert [rows[row["task"], row["spec"]] | {"raw_score": None} for row in both] == both
    assert {row["codec"] for row in found["scores"]} == {"float32", "random", "binary", "binary_rerank"}
    assert {row["task"] for row in found["scores"]} == {
        "retrieval",
        "clustering",
        "reranking",
        "pair_classification",
    }
    assert pq.read_table(tmp_path / "report.parquet").num_rows == len(found["scores"])
    assert "pca95" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 4  # what is kept, the spectrum, the influence of negatives, the map
    for words in ("sign bits", "share of the variance", "τ = 0.03", "rank of the negative", "matrix ("):
        assert f"<!-- {words}" in page, words
    # again: from the cache, and the difference of a model to itself is nothing
    again = tempembed(
        "evaluate", trained[0], *source, "--output", tmp_path / "again.json", "--codecs", "binary"
    )
    assert again.returncode == 0, again.stderr
    compared = tempembed("compare", report, tmp_path / "again.json")
    assert compared.returncode == 0, compared.stderr
    assert "+0.0000  +0.0000 .. +0.0000" in compared.stdout
    assert "needs at least 5 models, got 2" in compared.stdout


def test_codecs(trained, data_dir, tmp_path):
    source = ("--data", data_dir / "test.parquet", "--cache", tmp_path / "cache")
    done = tempembed("codecs", trained[0], *source, "--bytes", "32", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "For 32 bytes: " in done.stdout
    chosen = json.loads((tmp_path / "out" / "codec" / "codec.json").read_text())
    assert chosen["codec"] in done.stdout
    assert chosen["bytes_per_vector"] <= 32
    codec = Codec.load(tmp_path / "out" / "codec")
    embeddings = torch.from_numpy(SentenceTransformer(str(trained[0])).encode(["open the matrix", "a text"]))
    assert codec.encode(embeddings).nbytes == 2 * codec.spec.search_bytes
    page = (tmp_path / "out" / "pareto.html").read_text()
    assert "<svg" in page
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    best = max(
        r["score"] for r in report["scores"] if r["task"] == "retrieval" and r["bytes_per_vector"] <= 32
    )
    assert f"{best:.4f}" in done.stdout
    refused = tempembed("codecs", trained[0], *source, "--bytes", "0", "--output", tmp_path / "out")
    assert refused.returncode == 2
    assert "--bytes: expected >= 1, got 0" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "absent.parquet", "--output", "{}/x"), "absent.parquet"),
        (
            ("train", "--objective", "infonce:hot", "--data", "{data}", *SMALL, "--output", "{}/x"),
            "expected numbers",
        ),
        (
            ("train", "--data", "{data}", *SMALL, "--output", "{run}"),
            "add --resume to go on with an earlier run",
        ),
        (("evaluate", "{}", "--data", "{data}"), "expected a folder with modules.json"),
        (("evaluate", "{run}", "--data", "{data}", "--output", "x.txt"), "ends in .json"),
        (("evaluate", "{run}", "--data", "{data}", "--codecs", "int7", "--cache", "{}"), "expected [prefix|"),
        (("evaluate", "{run}", "--task-folder", "{}", "--cache", "{}"), "expected corpus, queries and qrels"),
        (
            ("evaluate", "{run}", "--tasks", "NoSuchTask", "--cache", "{}"),
            "expected names of mteb benchmarks",
        ),
        (("compare", "{}/a.json", "{}/b.json"), "expected a report of tempembed evaluate"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, message, trained, data_dir, tmp_path):
    names = {"data": str(data_dir / "train.parquet"), "run": str(trained[0])}
    done = tempembed(*(a.format(tmp_path, **names) for a in arguments))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_help_names_every_objective():
    done = tempembed("train", "--help")
    assert done.returncode == 0
    for word in ("tempspecmrl", "--terms", "--resume", "--skip-bad-rows", "installed-code"):
        assert word in done.stdout


def test_plan_predicts_four_ways_and_checks_them():
    sizes = (
        "--width",
        64,
        "--vocabulary",
        400,
        "--tokens",
        16,
        "--batch-size",
        256,
        "--objective",
        "mrl:0.1",
    )
    done = tempembed("plan", *sizes, "--check")
    assert done.returncode == 0, done.stderr
    lines = {line[2:].split()[0]: line for line in done.stdout.splitlines()[2:6]}
    assert set(lines) == {"dense", "local", "tiled", "cached"}
    assert all(" 255 " in line for line in lines.values())
    assert re.search(r"measured \d+\.\d\d GB \([+-]\d+%\), \d+\.\d\d s", lines["tiled"])
    assert done.stdout.splitlines()[-1].startswith("* the fastest that fits")
    two = tempembed("plan", *sizes, "--num-workers", 2)
    assert re.search(r"local +127 .*another objective", two.stdout)
    small = tempembed("plan", *sizes, "--memory-gb", 0.001)
    assert small.returncode == 2
    assert "expected a way that fits 0.00 GB, the least is" in small.stderr
    assert (
        "--batch-size, --hard-negatives: expected a multiple" in tempembed("plan", "--num-workers", 3).stderr
    )


def test_selfcheck_prints_the_worst_of_each_kind_and_fails_with_them(monkeypatch, capsys):
    import tempembed.diagnostics.selfcheck as module
    from tempembed.commands.selfcheck import SelfCheck, selfcheck_command

    good = module.Check(kind="tiled = dense", name="one", error=1e-13, bound=1e-10)
    monkeypatch.setattr(module, "selfcheck", lambda: iter([good]))
    selfcheck_command(SelfCheck())
    assert re.search(r"tiled = dense +1 +1.0e-13 +1e-10  ok", capsys.readouterr().out)
    bad = module.Check(kind="tiled = dense", name="two", error=1e-3, bound=1e-10)
    monkeypatch.setattr(module, "selfcheck", lambda: iter([good, bad]))
    with pytest.raises(SystemExit) as ended:
        selfcheck_command(SelfCheck())
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert re.search(r"tiled = dense +2 +1.0e-03 +1e-10  FAIL", printed.out)
    assert "FAIL  1.0e-03 <= 1e-10  two" in printed.err
