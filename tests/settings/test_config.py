"""Settings in a file: what it may hold, what wins, and that a run's own file repeats it."""

import json
import sys

import pytest
import tyro
from safetensors.torch import load_file

from ray_jobs.sweep import Sweep
from ray_jobs.train import RayTrain
from ray_jobs.tune import parsed
from tempembed.cli import main
from tempembed.commands.evaluate import Evaluate
from tempembed.commands.train import Train
from tempembed.settings.config import configured, with_file, write_config
from tempembed.settings.flat import flat, names
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return str(path)

    return write


def parse(kind, *arguments):
    return tyro.cli(kind, args=arguments, config=(tyro.conf.OmitArgPrefixes,), **with_file(kind, arguments))


def test_flags_win_over_the_file(file):
    path = file("batch_size: 64\nepochs: 3\nobjective: mrl:0.06\ndata: [a.csv:2, b.csv:1]\nlearning_rate: 1e-5\noutput: runs/x\n")  # fmt: skip
    found = parse(Train, "--config", path, "--objective", "tempagg", "--no-single-source")
    assert found.output == "runs/x"
    assert found.train == TrainSettings.of(
        batch_size=64, epochs=3.0, objective="tempagg", data=("a.csv:2", "b.csv:1"), learning_rate=1e-5
    )
    assert parse(Train, f"--config={path}", "--output", "y", "--data", "c.csv").train.data.data == ("c.csv",)


def test_every_command_with_settings_reads_them(file):
    path = file("num_workers: 1\nuse_gpu: true\noutput: x\ntau_plus: 0\ndata: x.csv\n")
    found = parse(RayTrain, "--config", path)
    assert (found.workers.num_workers, found.workers.use_gpu, found.train.data.data) == (1, True, ("x.csv",))
    sweep = parsed(["--config", file("seeds: [0, 1]\nobjectives: infonce:0.06\ngoals: [retrieval]\n"), "--seeds", "3"])  # fmt: skip
    assert (sweep.seeds, sweep.objectives, sweep.base.data.hold_out) == ((3,), ("infonce:0.06",), 0.1)
    assert "config" not in sweep.stored()
    with pytest.raises(UserError, match="--config: expected none beside --resume"):
        parsed(["--config", file(""), "--resume", "gone"])
    assert parse(RayTrain, "--output", "x") == RayTrain(output="x")
    assert parsed([]) == Sweep()
    assert parse(Evaluate, "--config", file("codecs: lab\nmax_queries: 7\n"), "m").max_queries == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate: 1.0e-3", r"run.yaml: there is no setting 'lerning_rate'; the nearest is 'learning_rate'$"),
        ("batch-size: 3", r"there is no setting 'batch-size'; the nearest is 'batch_size'$"),
        ("data:\n  hold_out: 0.1", r"expected data to be a list of texts, got \[\{'hold_out': 0.1\}\] \(list\)$"),
        ("batch_size: many", r"expected batch_size to be a whole number, got 'many'$"),
        ("batch_size: 1.5", r"expected batch_size to be a whole number, got 1.5 \(number\)$"),
        ("single_source: 1", r"expected single_source to be true or false, got 1 \(number\)$"),
        ("learning_rate: fast", r"expected learning_rate to be a number or null, got 'fast'$"),
        ("encoder: null", r"expected encoder to be a text, got None$"),
        ("direction: sideways", r"expected direction to be one of query-to-document, document-to-query, both, got 'sideways'$"),
        ("epochs: -1", r"run.yaml: --epochs: expected > 0, got -1"),
        ("- 1\n- 2", r"expected lines like batch_size: 512, got \[1, 2\] \(list\)$"),
        ("a: [1", r"expected settings in YAML, could not read it \(.*\): mend it$"),
        ("x: !!python/object/apply:os.system ['true']", r"expected settings in YAML, could not read it"),
        ("\0", r"expected settings in YAML, could not read it"),
        ("config: other.yaml", r"there is no setting 'config'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(file, text, message):
    with pytest.raises(UserError, match=message) as error:
        configured(Train, ["--config", file(text)])
    assert "\n" not in str(error.value)


def test_an_empty_file_and_none(file):
    assert configured(Train, ["--config", file("# nothing\n")]).train == TrainSettings()
    assert configured(Train, ["--output", "x", "--", "--config", "y"]) is None


def test_all_settings_go_through_a_file(tmp_path):
    sweep = Sweep(seeds=(3, 4), base=TrainSettings.of(terms=("16@0.03", "64@cosine(0.03,0.1)"), learning_rate=1e-5, query_prompt="é: "))  # fmt: skip
    path = tmp_path / "run.yaml"
    write_config(path, sweep, "a sweep", without=("config",))
    assert configured(Sweep, ["--config", str(path)]) == Sweep(**{**vars(sweep), "config": str(path)})
    text = path.read_text()
    assert text.startswith("# a sweep\n")
    assert {line.partition(":")[0] for line in text.splitlines() if line and line[0] not in "# -"} == names(Sweep).keys() - {"config"}  # fmt: skip


def test_a_runs_own_file_repeats_it(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.parquet").symlink_to(data_dir / "train.parquet")
    small = "--width 32 --vocabulary 300 --batch-size 32 --steps 6 --seed 5 --learning-rate 3e-3 --terms 16@0.03 32@0.1*0.5".split()  # fmt: skip
    for arguments in (
        ["train", "--data", "pairs.parquet", *small, "--output", "one"],
        ["train", "--config", "one/run.yaml", "--output", "two"],
        ["train", "--config", "one/run.yaml", "--output", "three", "--seed", "6"],
    ):
        monkeypatch.setattr(sys, "argv", ["tempembed", *arguments])
        main()
    one, two, three = (load_file(next((tmp_path / name).rglob("*.safetensors"))) for name in ("one", "two", "three"))  # fmt: skip
    assert all((one[name] == two[name]).all() for name in one)
    assert any((one[name] != three[name]).any() for name in one)
    settings = [json.loads((tmp_path / name / "settings.json").read_text()) for name in ("one", "two")]
    assert settings[0] == settings[1]
    assert settings[0]["data"] == str(tmp_path / "pairs.parquet")
    assert flat(configured(Train, ["--config", "two/run.yaml"]).train) == settings[0]
