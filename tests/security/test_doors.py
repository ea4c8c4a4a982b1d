"""A stranger knocks at every port that our stack opens, without the token and with a wrong one, and gets nowhere.

The ports are those that the processes really listen on, with a job's workers among them, not a list of ours; SECURITY.md has
to name each kind of them.
"""

import json
import re
import stat
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from ray_jobs.local_stack import start, stop
from tempembed.tracking.mlflow import start_run
from tests.security.doors import ABSENT, LOOPBACK, REFUSED, WRONG, Caller, doors, family, get, look

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.doors]
ROOT = Path(__file__).parents[2]
SERVICE_KINDS = {
    "ray.rpc.NodeInfoGcsService": "GCS",
    "ray.rpc.NodeManagerService": "raylet",
    "ray.rpc.ObjectManagerService": "object manager",
    "ray.rpc.CoreWorkerService": "worker",
    "ray.rpc.ReporterService": "dashboard agent, gRPC",
    "ray.rpc.RayletDriver": "Ray Client",
}
OPEN_HTTP = {"metrics", "MLflow"}
HEALTH = "grpc.health.v1.Health"
"""gRPC's own service: says that a server is up, to anyone."""


def kind(door):
    """Look behind it; what it is, as SECURITY.md calls it."""
    look(door)
    for service, name in SERVICE_KINDS.items():
        if service in door.services:
            return name
    if door.http:
        if "mlflow" in door.process:
            return "MLflow"
        if get(door, "/metrics")[0] == 200:
            return "metrics"
        for part, name in (
            ("RuntimeEnvAgent", "runtime env agent"),
            ("DashboardAgent", "dashboard agent, HTTP"),
        ):
            if part in door.process:
                return name
        return "dashboard" if "dashboard" in door.process else f"unknown HTTP of {door.process[:80]}"
    if not door.services and "RayTrainWorker" in door.process:
        return "process group"
    return f"unknown: {sorted(door.services)} of {door.process[:80]}"


class Site:
    """The running stack, a job that holds two workers, and what was found behind its ports."""

    def __init__(self, folder):
        self.folder = folder
        self.stack = start(folder)
        self.token = Path(self.stack.token_path).read_text()
        self.processes = []

    def begin(self):
        """Run the job, and look behind every port."""
        hold = self.folder / "hold"
        hold.mkdir()
        entry = f"{sys.executable} {Path(__file__).with_name('hold.py')} {hold}"
        self.ask(
            "/api/jobs/",
            {
                "entrypoint": entry,
                "submission_id": "hold",
                "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}},
            },
        )
        run = start_run(self.stack.mlflow_url, "security", "run", {"data": "none"})
        run.finish()
        deadline = time.monotonic() + 90
        while len(list(hold.glob("ready-*"))) < 2:
            assert time.monotonic() < deadline, self.ask("/api/jobs/hold/logs")
            assert self.ask("/api/jobs/hold")["status"] in ("PENDING", "RUNNING"), self.ask(
                "/api/jobs/hold/logs"
            )
            time.sleep(0.3)
        assert {path.read_text() for path in hold.glob("ready-*")} == {"2.0"}
        self.processes = family(pid for pid, _ in self.stack.processes)
        self.doors = doors(self.processes)
        with ThreadPoolExecutor(8) as pool:  # a port that says nothing takes seconds
            self.kinds = {
                (d.ip, d.port): name for d, name in zip(self.doors, pool.map(kind, self.doors), strict=True)
            }
        return self

    def of(self, name):
        """The doors of a kind."""
        found = [d for d in self.doors if self.kinds[d.ip, d.port] == name]
        assert found, f"no {name} among {sorted(set(self.kinds.values()))}"
        return found

    def ask(self, path, body=None):
        """With the token."""
        request = urllib.request.Request(
            self.stack.ray_url + path, data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("stack"))
    try:
        yield site.begin()
    finally:
        stop(site.stack.processes)


def test_every_port_is_on_loopback(site):
    assert len(site.doors) > 12
    elsewhere = [(d.ip, d.port, site.kinds[d.ip, d.port]) for d in site.doors if d.ip not in LOOPBACK]
    assert not elsewhere


def test_security_md_names_every_kind_of_port(site):
    text = (ROOT / "SECURITY.md").read_text()
    table = text.split("## Ports")[1].split("\n## ")[0]
    assert len(site.of("metrics")) == 3
    assert len(site.of("process group")) == 3
    documented = set(re.findall(r"^\| \*\*(.+?)\*\*", table, re.MULTILINE))
    assert documented == set(site.kinds.values())


def test_grpc_refuses_every_method_without_the_token(site):
    tried, let_in = 0, []
    for door in site.doors:
        for authorization in (None, WRONG) if door.services else ():
            with Caller(door, authorization) as stranger:
                for service, methods in door.services.items():
                    for method in methods:
                        code = stranger.status(service, method)
                        tried += 1
                        if code is not REFUSED and code not in ABSENT and service != HEALTH:
                            let_in.append((site.kinds[door.ip, door.port], service, method, code.name))
    assert tried > 200
    assert not let_in


def test_grpc_lets_the_token_in(site):
    (gcs,) = site.of("GCS")
    with Caller(gcs, f"Bearer {site.token}") as owner:
        assert owner.status("ray.rpc.NodeInfoGcsService", "GetAllNodeInfo") is grpc.StatusCode.OK


def test_http_refuses_without_the_token(site):
    marker = site.folder / "strangers-job"
    job = json.dumps({"entrypoint": f"touch {marker}"})
    for name in ("dashboard", "dashboard agent, HTTP", "runtime env agent"):
        for door in site.of(name):
            for headers, refusal in (
                ({}, 401),
                ({"Authorization": WRONG}, 403),
                ({"Cookie": "ray-authentication-token=x"}, 403),
            ):
                for path in (
                    "/api/jobs/",
                    "/api/job_agent/jobs/",
                    "/get_or_create_runtime_env",
                    "/api/nonsense",
                ):
                    for method, body in (("GET", None), ("POST", job), ("DELETE", None)):
                        sent = headers | {"Content-Type": "application/json"}
                        status, _, answer = get(door, path, sent, method, body)
                        assert status == refusal, (name, method, path, status, answer[:200])
    assert site.ask("/api/jobs/hold")["status"] == "RUNNING"  # the same server, with the token
    assert [job["submission_id"] for job in site.ask("/api/jobs/")] == ["hold"]
    assert not marker.exists()


def test_what_is_open_gives_away_what_security_md_says(site):
    for door in site.of("metrics"):
        status, _, text = get(door, "/metrics")
        assert status == 200
        assert site.token.encode() not in text
        assert get(door, "/metrics", method="POST", body="x")[0] in (
            200,
            405,
            501,
        )  # read-only: the same text at most
    (mlflow,) = site.of("MLflow")
    found = get(mlflow, "/api/2.0/mlflow/experiments/search?max_results=10")
    assert found[0] == 200
    assert b"security" in found[2]  # no password: whoever reaches it reads and writes
    assert get(mlflow, "/health", {"Host": "evil.example"})[0] in (200, 403)
    assert (
        get(mlflow, "/api/2.0/mlflow/experiments/search?max_results=10", {"Host": "evil.example"})[0] == 403
    )  # DNS rebinding
    (dashboard,) = site.of("dashboard")
    mode = get(dashboard, "/api/authentication_mode")
    assert mode[0] == 200
    assert site.token.encode() not in mode[2]


def test_the_token_is_in_its_file_and_nowhere_else(site):
    path = Path(site.stack.token_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [" ".join(p.cmdline()) for p in site.processes if p.is_running()]
    temp = Path(re.search(r"--temp-dir=(\S+)", " ".join(lines))[1])
    assert (
        stat.S_IMODE(temp.parent.stat().st_mode) == 0o700
    )  # Ray gives its own folder, with unguarded sockets in it, to all
    token, searched = site.token.encode(), 0
    for folder in (site.folder, temp):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink() and file != path:
                assert token not in file.read_bytes(), file
                searched += 1
    assert searched > 30
    assert not [line for line in lines if site.token in line]
    for process in site.processes:
        try:
            assert site.token not in process.environ().values(), process
        except psutil.NoSuchProcess:
            continue
    assert site.token not in json.dumps([site.ask("/api/jobs/"), site.ask("/api/jobs/hold")])


def test_telemetry_is_off(site):
    assert site.ask("/usage_stats_enabled")["data"]["usageStatsEnabled"] is False
    seen = 0
    for process in site.processes:
        try:
            env = process.environ()
        except psutil.NoSuchProcess:
            continue
        if "RAY_AUTH_TOKEN_PATH" in env:  # Ray's workers write their titles over theirs
            seen += 1
            assert env["RAY_USAGE_STATS_ENABLED"] == "0"
            assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"
            assert env["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert seen >= 5
