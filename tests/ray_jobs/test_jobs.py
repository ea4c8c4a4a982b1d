"""The jobs on a real Ray head and a real MLflow server, started as `make demo` starts them."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from ray.job_submission import JobSubmissionClient

from ray_jobs import train
from ray_jobs.alone import ALONE
from ray_jobs.local_stack import environment, free_port, start, stop
from tempembed import cli
from tempembed.commands.mine import Mine, mine
from tempembed.system.errors import UserError
from tests.ray_jobs.browser import CHROMIUM, look

pytestmark = [pytest.mark.ray, pytest.mark.mlflow]
SMALL = ("--width", "64", "--vocabulary", "400", "--batch-size", "32", "--steps", "20", "--log-every", "5")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    before = {p.pid for p in psutil.process_iter()}
    stack = start(tmp_path_factory.mktemp("stack"))
    yield stack
    family = [c.pid for pid, _ in stack.processes for c in psutil.Process(pid).children(recursive=True)]
    stop(stack.processes)
    left = [pid for pid in (*family, *(pid for pid, _ in stack.processes)) if psutil.pid_exists(pid)]
    alive = [p for p in left if psutil.Process(p).status() != psutil.STATUS_ZOMBIE and p not in before]
    assert len(family) > 5
    assert not alive


def submit(stack, module, *flags, runtime_env=None):
    """Submit a job and wait for its end, as `ray job submit` does; the demo's test has that command."""
    token = Path(stack.token_path).read_text().strip()
    client = JobSubmissionClient(stack.ray_url, headers={"Authorization": f"Bearer {token}"})
    entrypoint = shlex.join([sys.executable, "-m", module, *map(str, flags)])
    job, deadline = client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env), time.monotonic() + 400
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(job)[-6000:]
        time.sleep(0.1)
    return SimpleNamespace(returncode=int(status != "SUCCEEDED"), stdout=client.get_job_logs(job))


def tempembed(monkeypatch, capsys, *arguments):
    """What the command prints."""
    monkeypatch.setattr(sys, "argv", ["tempembed", *map(str, arguments)])
    capsys.readouterr()
    cli.main()
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def sweep(stack, data_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("sweep") / "one"
    done = submit(
        stack, "ray_jobs.tune", "--data", data_dir / "train.parquet",
        *SMALL, "--objectives", "infonce:0.05", "infonce:1e-39", "tempspecmrl",
        "--output", output, "--mlflow-uri", stack.mlflow_url,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    return output, done.stdout


def test_sweep_leaves_its_results(sweep):
    output, log = sweep
    trials = json.loads((output / "trials.json").read_text())
    assert [t["status"] for t in trials] == ["FINISHED", "FAILED", "FINISHED"]
    assert "step 1: expected a finite loss" in trials[1]["error"]
    assert [(t["dim"], t["temperature"]) for t in trials[2]["terms"]] == [(16, 0.03), (32, 0.06), (64, 0.1)]
    assert {"geometry", "scores", "seed", "objective"} <= trials[0].keys()
    page = (output / "report.html").read_text()
    assert page.count("<svg xmlns:xlink") == 2  # one single temperature: no curves over it
    assert page.count("Plotly.newPlot(") == 2  # the front and the parallel coordinates
    assert re.search(r"\[trial 3/3 tempspecmrl-seed0\] step 20/20  loss .* pairs/s", log)
    assert "failed: infonce-1e-39-seed0" in log


def test_tensorboard_has_the_curves_of_each_trial(sweep):
    output, _ = sweep
    logs = {
        path.parent.name: path.read_bytes() for path in (output / ".tune").glob("*/events.out.tfevents.*")
    }
    assert {"infonce-0.05-seed0", "tempspecmrl-seed0"} <= logs.keys()
    assert b"ray/tune/train/loss" in logs["tempspecmrl-seed0"]


def test_mlflow_holds_parent_and_nested_runs(sweep, stack):
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    parent = runs["sweep one"]
    children = [r for r in runs.values() if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {r.info.run_name: r.info.status for r in children} == {
        "infonce-0.05-seed0": "FINISHED", "infonce-1e-39-seed0": "FAILED", "tempspecmrl-seed0": "FINISHED",
    }  # fmt: skip
    assert parent.info.status == "FINISHED"
    run = runs["tempspecmrl-seed0"]
    curve = client.get_metric_history(run.info.run_id, "retention/ndcg_at_10/float32")
    assert [m.step for m in curve] == [2, 32, 64]
    assert curve[-1].value == 1.0
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [5, 10, 15, 20]
    assert run.data.params["objective"] == "tempspecmrl"
    assert run.data.metrics["intrinsic_dimension"] > 0
    assert len(run.data.metrics) < 100
    assert {one.tags[0].value for one in run.inputs.dataset_inputs} == {"training", "test"}
    assert run.data.tags["mlflow.source.name"]
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    scores = {metric.key: metric.value for metric in model.metrics}
    assert scores["score_at_128_bytes"] == run.data.metrics["score_at_128_bytes"]
    assert run.data.metrics["system/cpu_utilization_percentage"] >= 0
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"evaluation.json"}
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == {
        "report.html", "trials.json", "decisions.json",
    }  # fmt: skip
    found = client.search_runs(
        [experiment.experiment_id],
        "metrics.intrinsic_dimension < 600 and metrics.retention_at_128_bytes > 0.5 and tags.`tempembed.outcome` = 'FINISHED'",
    )
    assert {r.info.run_id for r in children if r.info.status == "FINISHED"} <= {r.info.run_id for r in found}
    assert {run.data.metrics["pareto_rank"]} <= {1.0, 2.0}
    assert run.data.metrics["cost/train_seconds"] > 0


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
def test_the_pages_draw_what_a_sweep_left(sweep, stack, tmp_path):
    """MLflow's comparison of two trials and a metric's curves in it; the sweep in Ray's list of jobs, its runs in Ray Train's."""
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    names = ("infonce-0.05-seed0", "tempspecmrl-seed0")
    found = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    runs, metric = [found[name] for name in names], "retention/ndcg_at_10/binary"

    def page(route, **parameters):
        query = {name: json.dumps(value) for name, value in parameters.items()}
        return f"{stack.mlflow_url}/#/{route}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"

    compare = page("compare-runs", runs=runs, experiments=[experiment])
    assert look(compare, "document.querySelectorAll('.js-plotly-plot').length", tmp_path / "compare.png")
    curves = page(
        "metric", runs=runs, metric=metric, experiments=[experiment], plot_metric_keys=[metric],
        plot_layout={"autosize": True, "xaxis": {}, "yaxis": {}}, deselected_curves=[], last_linear_y_axis_range=[],
    ) + "&x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=true"  # fmt: skip
    drawn = "trace => trace.querySelectorAll('path.point').length >= 2 && trace.getBBox().width > 50"
    traces = "[...document.querySelectorAll('.js-plotly-plot .scatterlayer .trace')]"
    assert look(curves, f"{traces}.filter({drawn}).length == {len(runs)}", tmp_path / "curves.png")
    token = {"Authorization": f"Bearer {Path(stack.token_path).read_text().strip()}"}
    listed = (
        "document.body.innerText.includes('ray_jobs.tune') && document.body.innerText.includes('SUCCEEDED')"
    )
    assert look(f"{stack.ray_url}/#/jobs", listed, tmp_path / "jobs.png", token)
    with urllib.request.urlopen(
        urllib.request.Request(f"{stack.ray_url}/api/train/v2/runs/v1", headers=token), timeout=20
    ) as answer:
        states = {run["name"]: run["status"] for run in json.load(answer)["train_runs"]}
    assert {name: states[name] for name in names} == dict.fromkeys(names, "FINISHED")


def test_the_registry_holds_the_winners(sweep, stack, tmp_path, monkeypatch, capsys):
    output, _ = sweep
    decided = json.loads((output / "decisions.json").read_text())
    assert [d["alias"] for d in decided["decisions"]] == ["full", "bytes-512", "bytes-128", "bytes-32"]
    assert all(d["promote"] for d in decided["decisions"])
    client = MlflowClient(stack.mlflow_url)
    assert {*client.get_registered_model(decided["name"]).aliases} == {
        "full",
        "bytes-512",
        "bytes-128",
        "bytes-32",
    }
    registry = ("--name", decided["name"], "--mlflow-uri", stack.mlflow_url)
    answer = tempembed(monkeypatch, capsys, "recommend", "--bytes", 32, *registry)
    assert "For 32 bytes: version" in answer
    assert "you lose" in answer
    model = tmp_path / "model"
    tempembed(monkeypatch, capsys, "export", "--alias", "bytes-32", "--output", model, *registry)
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "\n".join(f"def open_{topic}(): return {topic}.open()" for topic in ("matrix", "socket", "parser"))
    )
    search = (
        model,
        "open the socket named a1 and return it",
        "--texts",
        texts,
        "--index",
        tmp_path / "index",
    )
    hits = tempembed(monkeypatch, capsys, "search", *search)
    assert "def open_socket()" in hits.splitlines()[2]


def test_trials_in_their_own_processes(sweep, stack, data_dir, tmp_path):
    """With --num-workers 0, two at a time; the same scores as with workers of Ray Train, a failure, early stopping."""
    output = tmp_path / "own"
    flags = (
        "--data",
        data_dir / "train.parquet",
        *SMALL,
        "--num-workers",
        0,
        "--no-register",
        "--mlflow-uri",
        stack.mlflow_url,
    )
    done = submit(
        stack,
        "ray_jobs.tune",
        *flags,
        "--output",
        output,
        "--objectives",
        "infonce:0.05",
        "infonce:1e-39",
        "mrl:0.1",
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "2 at a time" in done.stdout
    first, failed, last = json.loads((output / "trials.json").read_text())
    assert [each["status"] for each in (first, failed, last)] == ["FINISHED", "FAILED", "FINISHED"]
    assert "NonFiniteLossError: step 1: expected a finite loss" in failed["error"]
    with_workers = json.loads((sweep[0] / "trials.json").read_text())[0]
    full = [
        row["score"]
        for one in (first, with_workers)
        for row in one["scores"]
        if row["spec"] == "prefix:64+float32"
    ]
    assert len(full) >= 2
    assert full[: len(full) // 2] == pytest.approx(full[len(full) // 2 :], abs=1e-4)
    assert first["cost"]["overhead_seconds"] < with_workers["cost"]["overhead_seconds"]
    assert len((output / "trials" / "mrl-0.1-seed0" / "metrics.jsonl").read_text().splitlines()) == 4
    client = MlflowClient(stack.mlflow_url)
    runs = client.search_runs(["1"], "attributes.run_name = 'mrl-0.1-seed0'")
    assert [m.step for m in client.get_metric_history(runs[0].info.run_id, "train/loss")] == [5, 10, 15, 20]
    stopped = submit(
        stack, "ray_jobs.tune", *flags, "--output", tmp_path / "stopped", "--early-stop", "--stop-bytes", 8, "--rungs", 1,
        "--objectives", "infonce:50", "infonce:20", "infonce:0.05", "infonce:0.03",
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stdout[-6000:]
    records = json.loads((tmp_path / "stopped" / "trials.json").read_text())
    assert {record["status"] for record in records} == {"FINISHED", "STOPPED"}
    assert "early stopping ended" in stopped.stdout


@pytest.fixture(scope="module")
def two_workers(stack, data_dir, tmp_path_factory):
    """A run on two workers, and its flags but for them."""
    output = tmp_path_factory.mktemp("workers") / "run"
    flags = (*SMALL, "--output", output, "--mlflow-uri", stack.mlflow_url)
    data = ("--data", data_dir / "train.parquet", "--objective", "tempagg")
    done = submit(stack, "ray_jobs.train", *data, *flags, "--num-workers", 2)
    assert done.returncode == 0, done.stdout[-6000:]
    return output, flags, done.stdout


def test_a_run_on_two_workers(two_workers):
    output, _, log = two_workers
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 4
    assert re.search(r"^step 20/20  loss .* pairs/s", log, re.MULTILINE)
    assert not (output / "evaluation.json").exists()


def test_a_run_goes_on_under_other_spellings_and_with_another_test(
    two_workers, stack, data_dir, tmp_path, monkeypatch
):
    output, flags, _ = two_workers
    copy = tmp_path / "copy.parquet"
    shutil.copy(data_dir / "train.parquet", copy)
    other = (
        "--data", copy, "--eval-data", data_dir / "test.parquet", *flags, "--layers", 9, "--objective",
        "tempagg:0.03,0.06,0.1", "--log-every", 2, "--checkpoint-every", 3, "--learning-rate", 0.01, "--num-workers", 1,
    )  # fmt: skip
    again = submit(stack, "ray_jobs.train", *other)
    assert again.returncode == 0, again.stdout[-6000:]
    assert "going on with" in again.stdout
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 4  # nothing was trained again
    assert json.loads((output / "evaluation.json").read_text())["scores"]
    assert json.loads((output / "run.json").read_text())["settings"]["data"] == str(copy)
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'run'")
    assert run.data.params["log_every"] == "5"
    measured = (output / "evaluation.json").stat().st_mtime_ns
    same = submit(stack, "ray_jobs.train", *other)
    assert same.returncode == 0, same.stdout[-6000:]
    assert "going on with" in same.stdout
    assert (output / "evaluation.json").stat().st_mtime_ns == measured
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 4
    monkeypatch.setattr(sys, "argv", ["train", *map(str, other), "--seed", "5"])
    with pytest.raises(UserError, match="seed: 0 there, 5 here"):  # before it looks for its Ray
        train.main()


def test_mining_on_the_cluster_finds_what_this_machine_finds(two_workers, stack, data_dir, tmp_path):
    model, data = two_workers[0], data_dir / "train.parquet"
    options = {"num_negatives": 3, "relative_margin": 0.05, "codec": "binary+rerank:float:60"}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    job = (model, "--data", data, *flags, "--output", tmp_path / "ray.parquet", "--cache", tmp_path / "ray")
    done = submit(stack, "ray_jobs.mine", *job, "--mlflow-uri", stack.mlflow_url)
    assert done.returncode == 0, done.stdout[-6000:]
    here = Mine(
        model=str(model), data=str(data), output=str(tmp_path / "here.parquet"), cache=str(tmp_path / "here"), processes=1, **options
    )  # fmt: skip
    found = mine(here, lambda _: None)
    assert str(found) in done.stdout
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(found.output))
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'ray'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["mine/queries_mined"] == found.num_queries
    again = submit(stack, "ray_jobs.mine", *job)
    assert again.returncode != 0
    assert re.search(
        r"^error: --output \S+: expected a new file, this one is there", again.stdout, re.MULTILINE
    )


def test_a_search_that_has_ended_is_given_more_trials(stack, data_dir, tmp_path):
    output = tmp_path / "search"
    flags = ("--data", data_dir / "train.parquet", *SMALL, "--num-workers", 0, "--no-register", "--search", "tpe",
             "--mlflow-uri", stack.mlflow_url, "--goals", "retrieval", "bytes-32")  # fmt: skip
    done = submit(stack, "ray_jobs.tune", *flags, "--output", output, "--num-trials", 1)
    assert done.returncode == 0, done.stdout[-6000:]
    first = json.loads((output / "trials.json").read_text())
    more = submit(
        stack, "ray_jobs.tune", "--resume", output, "--num-trials", 2, "--mlflow-uri", stack.mlflow_url
    )
    assert more.returncode == 0, more.stdout[-6000:]
    assert "2 trials on" in more.stdout
    assert "going on after 1 that ended" in more.stdout
    trials = json.loads((output / "trials.json").read_text())
    assert [each["status"] for each in trials] == ["FINISHED"] * 2
    assert trials[0]["name"] == first[0]["name"]
    assert trials[0]["scores"] == first[0]["scores"]
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    (root,) = client.search_runs([experiment], "attributes.run_name = 'sweep search'")
    assert root.data.tags["num_trials"] == "2"


def test_a_job_with_a_working_folder_does_not_write_into_rays_copy_of_it(stack, data_dir, tmp_path):
    """As our own example had it; its data and its code come with the folder."""
    shutil.copy(data_dir / "train.parquet", tmp_path / "pairs.parquet")
    root = str(Path(__file__).parents[2])
    shutil.copy(data_dir / "test.parquet", tmp_path / "test.parquet")
    job = {"working_dir": str(tmp_path), "env_vars": {"PYTHONPATH": root}}
    flags = ("--data", "pairs.parquet", "--eval-data", "test.parquet", *SMALL, "--num-workers", 1)
    done = submit(stack, "ray_jobs.train", *flags, "--output", "runs/one", runtime_env=job)
    assert done.returncode != 0
    assert re.search(
        r"^error: --output \S+/runtime_resources/\S+/runs/one: expected a place that stays, .*; write an absolute path",
        done.stdout,
        re.MULTILINE,
    )
    assert "Traceback" not in done.stdout
    output = tmp_path / "results" / "one"
    done = submit(stack, "ray_jobs.train", *flags, "--output", output, runtime_env=job)
    assert done.returncode == 0, done.stdout[-6000:]
    assert (output / "modules.json").exists()
    assert json.loads((output / "evaluation.json").read_text())["scores"]
    data = json.loads((output / "settings.json").read_text())["data"]
    assert data.startswith("/")


def test_a_driver_that_is_run_directly_says_what_it_lacks(stack, tmp_path):
    gcs = re.search(
        r"--port=(\d+)|gcs_server_port=(\d+)", " ".join(psutil.Process(stack.processes[-1][0]).cmdline())
    )
    assert gcs is not None
    driver = ("-m", "ray_jobs.train", "--data", tmp_path / "none.jsonl", "--output", tmp_path / "run")
    # what every driver calls first; their other imports take seconds
    joins = (
        "-c",
        "from ray_jobs.connect import connect; from tempembed.system.console import run; run(connect)",
    )
    ours = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"}
    clean = (
        {name: value for name, value in os.environ.items() if name not in ours}
        | {"HOME": str(tmp_path)}
        | ALONE
    )
    head = {"RAY_ADDRESS": f"127.0.0.1:{gcs[1] or gcs[2]}"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": stack.token_path}
    for command, env, shown in (
        (joins, head, "expected the cluster's token, got none or another one"),
        (
            joins,
            {"RAY_ADDRESS": stack.ray_url.removeprefix("http://")} | token,
            "got another server; take the port of ray start",
        ),
        (driver, head | token, "none.jsonl"),  # it has come to its Ray, and looks for its data
    ):
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env=clean | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 2, done.stderr[-2000:]
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert shown in line
        assert "Traceback" not in done.stderr + done.stdout


def test_demo_uses_a_ray_and_mlflow_that_are_already_there(stack, data_dir, tmp_path):
    theirs = {"RAY_ADDRESS": stack.ray_url, "MLFLOW_TRACKING_URI": stack.mlflow_url}
    flags = ("--data", data_dir / "train.parquet", *SMALL, "--objectives", "infonce:0.07", "--num-workers", 0)
    done = subprocess.run(
        [sys.executable, "-m", "ray_jobs.demo", "--output", tmp_path / "theirs", "--", *map(str, flags)],
        env=environment(Path(stack.token_path)) | theirs, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "starting nothing" in done.stdout + done.stderr
    assert "For 128 bytes: version 1 (" in done.stdout
    assert "parse a date from text\n  rank" in done.stdout
    assert [t["status"] for t in json.loads((tmp_path / "theirs" / "trials.json").read_text())] == [
        "FINISHED"
    ]
    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name("tempembed").experiment_id
    runs = {r.info.run_name: r.info.status for r in client.search_runs([experiment])}
    assert runs["infonce-0.07-seed0"] == runs["sweep theirs"] == "FINISHED"
    assert stack.processes
    assert all(psutil.Process(pid).create_time() == created for pid, created in stack.processes)


def test_a_sweep_that_cannot_run_is_refused_with_the_arithmetic(stack, data_dir, tmp_path):
    flags = ("--data", data_dir / "train.parquet", *SMALL, "--num-workers", 16, "--output", tmp_path / "x")
    done = submit(stack, "ray_jobs.tune", *flags)
    assert done.returncode != 0
    assert "CPU: 16 workers x 1 = 16 needed, 2 in the cluster" in done.stdout


def test_the_stack_is_closed_to_strangers(stack):
    assert stat.S_IMODE(os.stat(stack.token_path).st_mode) == 0o600
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{stack.ray_url}/api/jobs/", timeout=10)
    assert stack.ray_url.startswith("http://127.0.0.1:")


def test_free_ports_are_distinct_and_avoid_taken_ones(stack):
    used = int(stack.ray_url.rsplit(":", 1)[1])
    taken: set[int] = set()
    ports = [free_port(used, taken), free_port(used, taken), free_port(0, taken)]
    assert len(set(ports)) == 3
    assert used not in ports
