"""A real Prometheus scrapes real jobs, one of which loses a worker and one of which meets a NaN; every panel has data."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest

from dashboards.build import FOLDER, file_name, plain
from dashboards.panels import BOARDS
from ray_jobs.local_stack import environment, free_port, start, stop
from tests.ray_jobs.browser import CHROMIUM, look

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.dashboards,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (apt-get install prometheus)"),
]
SMALL = (
    "--width",
    "64",
    "--vocabulary",
    "400",
    "--batch-size",
    "32",
    "--checkpoint-every",
    "200",
    "--log-every",
    "20",
)
PANELS = [panel for board in BOARDS for panel in board.panels]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = start(tmp_path_factory.mktemp("stack"), need_mlflow=False)
    yield stack
    stop(stack.processes)


@pytest.fixture(scope="module")
def prometheus(stack, tmp_path_factory):
    """Our own configuration, in more of a hurry."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(FOLDER / "prometheus", folder / "config")
    config = folder / "config" / "prometheus.yml"
    text = config.read_text()
    assert text.count("../../results/stack/ray") == 1
    text = text.replace("../../results/stack/ray", str(Path(stack.token_path).parent / "ray"))
    config.write_text(text.replace("10s", "1s"))
    url = f"127.0.0.1:{free_port(0, set())}"
    process = subprocess.Popen(
        [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={url}",
         f"--web.console.templates={folder / 'config' / 'consoles'}", "--log.level=warn"],
        stderr=(folder / "log").open("w"),
    )  # fmt: skip
    yield f"http://{url}"
    process.terminate()
    process.wait(20)


def submit(stack, module, *flags):
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", stack.ray_url, "--"]
    return subprocess.Popen(
        [*command, sys.executable, "-m", module, *map(str, flags)],
        env=environment(Path(stack.token_path)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(job):
    log, _ = job.communicate(timeout=300)
    assert job.returncode == 0, log[-6000:]
    return log


def workers(stack):
    """Of Ray Train, in this stack."""
    family = [child for pid, _ in stack.processes for child in psutil.Process(pid).children(recursive=True)]
    return [process for process in family if "RayTrainWorker" in " ".join(process.cmdline()[:1])]


@pytest.fixture(scope="module")
def jobs(stack, prometheus, data_dir, tmp_path_factory):
    folder, began = tmp_path_factory.mktemp("jobs"), time.time()
    data = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", *SMALL)
    output = folder / "one"
    objective = ("--objective", "tempagg:0.05,learned(0.1)")
    job = submit(
        stack, "ray_jobs.train", *data, *objective, "--steps", 3000, "--output", output, "--num-workers", 2
    )
    metrics = output / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 20:
        assert job.poll() is None, job.communicate()[0][-6000:]
        assert time.time() < began + 200
        time.sleep(0.5)
    os.kill(workers(stack)[0].pid, signal.SIGKILL)
    finished(job)
    sweep = ("--objectives", "infonce:0.05", "infonce:1e-39", "--steps", 400, "--num-workers", 1)
    finished(submit(stack, "ray_jobs.tune", *data, *sweep, "--output", folder / "many"))
    encode = (output, "--data", data_dir / "train.parquet", "--codec", "binary", "--shard-rows", 64)
    finished(submit(stack, "ray_jobs.encode", *encode, "--output", folder / "encoded"))
    time.sleep(12)  # what the last process left, passed on and scraped
    return folder, began


def ask(prometheus, path, **parameters):
    with urllib.request.urlopen(
        f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=20
    ) as answer:
        body = json.load(answer)
    assert body["status"] == "success"
    return body["data"]["result"]


def series(prometheus, expr, began):
    """What a panel would draw."""
    return ask(prometheus, "query_range", query=plain(expr), start=began, end=time.time(), step=1)


def seen(prometheus, expr):
    """Newest values within the last ten minutes, by their labels."""
    found = ask(prometheus, "query", query=f"last_over_time(({expr})[10m:1s])")
    return {tuple(v for _, v in sorted(each["metric"].items())): float(each["value"][1]) for each in found}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_panel_has_data(panel, jobs, prometheus):
    _, began = jobs
    for expr, legend in panel.queries:
        found = series(prometheus, expr, began)
        if panel.needs == "a GPU" and not ask(prometheus, "query", query="ray_node_gpus_available"):
            assert not found
            pytest.skip("this machine has no GPU: the query was accepted and gave nothing")
        assert found, expr
        labels = {name for each in found for name in each["metric"]}
        named = {part.split("}}")[0] for part in legend.split("{{")[1:]}
        assert (
            named - {"sweep", "run"} <= labels
        )  # a run outside a sweep has no sweep, a sweep's own numbers no run


def test_what_happened_is_what_is_told(jobs, prometheus):
    assert seen(prometheus, "sum by (run) (ray_tempembed_restarts_total)") == {("one",): 1}
    errors = seen(prometheus, "sum by (run, error) (ray_tempembed_worker_errors_total)")
    assert errors["NonFiniteLossError", "infonce-1e-39-seed0"] == 1
    assert {run for _, run in errors} == {"one", "infonce-1e-39-seed0"}
    trials = seen(prometheus, "max by (status) (ray_tempembed_trials)")
    assert trials == {("finished",): 1, ("failed",): 1, ("stopped",): 0, ("running",): 0, ("waiting",): 0}
    assert seen(prometheus, 'max by (alertname) (ALERTS{alertname="TempembedNonFinite",alertstate="firing"})')
    assert not seen(prometheus, 'ALERTS{alertname="TempembedStalled"}')
    # the first run had no MLflow
    assert seen(prometheus, "max by (sweep) (ray_tempembed_spool_depth)").keys() == {("many",)}


def test_what_was_told_once_stays_while_its_process_lives(jobs, prometheus):
    """Ray itself drops a gauge that is not set for 20 s; a stalled run must not vanish."""
    (found,) = series(prometheus, 'max(ray_tempembed_trials{status="failed"})', jobs[1])
    times = [moment for moment, _ in found["values"]]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 3


def test_a_run_ends_at_its_last_step_with_its_measures(jobs, prometheus):
    folder, _ = jobs
    last = json.loads((folder / "one" / "metrics.jsonl").read_text().splitlines()[-1])
    mine = '{run="one"}'
    assert seen(prometheus, f"max by (run) (ray_tempembed_step{mine})") == {("one",): 3000}
    assert seen(prometheus, f"max by (run) (ray_tempembed_loss{mine})")["one",] == pytest.approx(
        last["train/loss"]
    )
    temperatures = seen(prometheus, f"max by (term) (ray_tempembed_temperature{mine})")
    assert temperatures["dim_64_temperature_0.05",] == 0.05
    learned = "dim_64_temperature_learned_0.1"
    assert temperatures[learned,] == pytest.approx(last[f"train/temperature/{learned}"])
    phases = seen(prometheus, f"max by (phase) (ray_tempembed_phase_seconds{mine})")
    assert {phase for (phase,) in phases} == {
        "data",
        "encode",
        "gather",
        "loss",
        "backward",
        "optimizer",
        "report",
    }
    assert phases["gather",] > 0  # two workers
    for run, place in (("one", "one"), ("infonce-0.05-seed0", "many/trials/infonce-0.05-seed0")):
        report = json.loads((folder / place / "evaluation.json").read_text())
        dimension = seen(
            prometheus, f'max by (run) (ray_tempembed_measured_intrinsic_dimension{{run="{run}"}})'
        )
        assert dimension == {(run,): report["geometry"]["pca95"]}
        kept = seen(prometheus, f'max by (bytes) (ray_tempembed_retention{{run="{run}"}})')
        assert {int(size) for (size,) in kept} == {512, 128, 32}
        best = max(
            row["score"]
            for row in report["scores"]
            if row["metric"] == "ndcg_at_10" and row["bytes_per_vector"] <= 32
        )
        assert seen(prometheus, f'max(ray_tempembed_score{{run="{run}",bytes="32"}})') == {
            (): pytest.approx(best)
        }


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_prometheus_own_page_draws_them(board, jobs, prometheus, tmp_path):
    pictures = Path(os.environ.get("TEMPEMBED_PICTURES", tmp_path))
    _, began = jobs
    url = f"{prometheus}/consoles/{file_name(board)}.html?seconds={int(time.time() - began)}"
    wanted = sum(not panel.needs for panel in board.panels)
    drawn = "document.querySelectorAll('.rickshaw_graph svg:has(path)').length"
    assert look(url, f"{drawn} >= {wanted} && {drawn}", pictures / f"{board.uid}.png") >= wanted
