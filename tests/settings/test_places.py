"""Paths of the settings mean the same from every folder, and nothing is written where it does not stay."""

import pytest

from ray_jobs.demo import located_flags
from ray_jobs.train import RayTrain
from ray_jobs.tune import parsed
from tempembed.commands.local_run import check_output
from tempembed.commands.train import Train
from tempembed.run.folder import RunFolder
from tempembed.settings.flat import flat
from tempembed.settings.places import located, output_place, with_places
from tempembed.settings.train import TrainSettings
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError
from tempembed.tracking.uri import check_uri
from tempembed.tuning.ledger import Ledger


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("pairs.jsonl", "test.jsonl"):
        (tmp_path / name).touch()
    for name in ("base", "static", "installed-code"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_what_is_there_becomes_absolute(here):
    assert located("pairs.jsonl") == located("./pairs.jsonl") == located("~/pairs.jsonl") == str(here / "pairs.jsonl")  # fmt: skip
    assert located("base") == located("base/") == str(here / "base")


@pytest.mark.parametrize(
    "name",
    ["installed-code", "static", "transformer", "sentence-transformers/all-MiniLM-L6-v2", "org/name:config:split",
     "gone.jsonl", "", "a\0b"],
)  # fmt: skip
def test_names_stay_what_they_are(here, name):
    assert located(name) == name


def test_a_folder_called_as_an_encoder_is_meant_by_its_path(here):
    assert located("./static") == str(here / "static")


def test_all_commands_that_train_take_them(here):
    test = str(here / "test.jsonl")
    want = {
        "data": str(here / "pairs.jsonl"),
        "eval_data": test,
        "dev_data": test,
        "encoder": str(here / "base"),
    }
    given = {"data": "pairs.jsonl", "eval_data": "./test.jsonl", "dev_data": "test.jsonl", "encoder": "base"}
    flags = (
        "--data",
        "pairs.jsonl",
        "--eval-data",
        "./test.jsonl",
        "--dev-data",
        "test.jsonl",
        "--encoder",
        "base",
    )
    for settings in (
        with_places(TrainSettings.of(**given)), Train(output="one", train=TrainSettings.of(**given)).settings,
        RayTrain(output="one", train=TrainSettings.of(**given)).settings, parsed(flags), parsed(flags).base,
    ):  # fmt: skip
        assert {name: flat(settings)[name] for name in want} == want
    assert located_flags(["--data=pairs.jsonl", "--eval_data", "test.jsonl", "--seeds", "1"]) == (
        "--data", want["data"], "--eval_data", want["eval_data"], "--seeds", "1",
    )  # fmt: skip
    assert located_flags(("--encoder", "static", "--output", "base")) == ("--encoder", "static", "--output", "base")  # fmt: skip


def test_outputs(here, monkeypatch):
    assert output_place("--output", "runs/one") == here / "runs" / "one"
    assert output_place("--output", "~/runs/one") == here / "runs" / "one"
    monkeypatch.setenv("TEMPEMBED_CACHE", "~/cache")
    assert cache_dir() == here / "cache"


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/one", "gs://bucket/one", "hdfs://host/one", "file:///tmp/one", "https://host/one"],
)
def test_an_address_is_no_folder(here, address):
    """Path makes a folder `s3:` of it, in silence."""
    scheme = address.partition("//")[0]
    for refuse in (
        lambda: output_place("--output", address),
        lambda: check_output(here / address, resume=False),
        lambda: RunFolder((here / address).absolute()),
    ):
        with pytest.raises(UserError, match=rf"expected a path, got an address \({scheme}//…\); give a folder") as error:  # fmt: skip
            refuse()
        assert "\n" not in str(error.value)
    assert sorted(path.name for path in here.iterdir()) == ["base", "installed-code", "pairs.jsonl", "static", "test.jsonl"]  # fmt: skip


@pytest.fixture
def copy(here, monkeypatch):
    """Ray's copy of a working folder, in which the job starts."""
    folder = here / "ray" / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0a"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


WHERE = r"expected a place that stays, got one in Ray's copy of --working-dir.*; write an absolute path on a file system that all nodes share, such as /shared/one"  # fmt: skip


def test_nothing_is_written_into_rays_copy_of_the_working_folder(copy, here):
    refusals = {
        "--output": lambda: output_place("--output", "runs/one"),
        "run": lambda: RunFolder(copy / "runs" / "one"),
        "sweep": lambda: Ledger(copy / "runs" / "one"),
        "MLflow at": lambda: check_uri("sqlite:///mlflow.db"),
    }
    for what, refuse in refusals.items():
        with pytest.raises(UserError, match=f"^{what} .*_ray_pkg_0a/.*: {WHERE}$"):
            refuse()
    (here / "link").symlink_to(copy)
    with pytest.raises(UserError, match=WHERE):
        output_place("--output", str(here / "link" / "one"))
    assert output_place("--output", str(here / "one")) == here / "one"
    assert not list(copy.iterdir())


def test_a_database_of_mlflow_is_one_file_for_all_processes(here):
    assert check_uri("sqlite:///mlflow.db") == check_uri("mlflow.db") == f"sqlite:///{here / 'mlflow.db'}"
