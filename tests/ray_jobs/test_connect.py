"""Each of the commonest causes for which a driver does not come to a cluster is one line, soon. No Ray is started."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import ray
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from ray_jobs.connect import check_jobs_server, connect
from ray_jobs.local_stack import free_port
from tempembed.system.errors import UserError


@pytest.fixture(autouse=True)
def _of_nobody(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def init(*arguments, **more):
        raise AssertionError("it goes on to ray.init")

    monkeypatch.setattr(ray, "init", init)


def refused(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        connect()
    assert time.monotonic() - began < 15
    line = str(error.value)
    assert "\n" not in line
    assert ": expected " in line
    assert ", got " in line or "found none" in line
    assert "; " in line
    return line


def local(port):
    """The address of a port, as Ray spells it for this machine."""
    from ray._private.services import resolve_ip_for_localhost

    return f"{resolve_ip_for_localhost('127.0.0.1')}:{port}"


@contextmanager
def web_server(status, body=b"{}"):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def head(answer):
    """A head that only says whether it is alive."""

    class Service(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
        def CheckAlive(self, request, context):
            return answer(context)

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Service(), server)
        port = server.add_insecure_port("0.0.0.0:0")
        server.start()
        yield port
        server.stop(0)


def version(text):
    return lambda context: gcs_service_pb2.CheckAliveReply(ray_version=text)


def unauthenticated(context):
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: Authentication token is missing or incorrect")  # fmt: skip


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://me:hunter2@host", "ray://host:10001"])
def test_a_scheme_that_is_not_a_heads(address, monkeypatch):
    line = refused(address, monkeypatch)
    assert re.search(
        r"^RAY_ADDRESS=.*: expected host:port of a cluster's head, or auto, got an address of (https?|ray); submit the job to the "
        r"cluster's Jobs server \(ray job submit --address http://HOST:8265 -- python -m \.\.\.\), or unset RAY_ADDRESS",
        line,
    )
    assert "hunter2" not in line


def test_a_dead_address(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = local(free.getsockname()[1])
    line = refused(address, monkeypatch)
    assert f"expected the head of a Ray cluster, got none (connection refused, {address}); start it" in line


def test_loopback_where_ray_takes_it_for_the_address_of_the_node(monkeypatch):
    monkeypatch.setattr("ray_jobs.connect.canonicalize_bootstrap_address", lambda given: "127.0.0.2:9")
    line = refused("127.0.0.1:9", monkeypatch)
    assert "(connection refused, 127.0.0.2:9)" in line
    assert "a Ray that listens on 127.0.0.1 alone needs RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in line


def test_a_host_that_is_not_known(monkeypatch):
    assert "got none (no such host, nosuch.invalid:6379)" in refused("nosuch.invalid:6379", monkeypatch)


def test_a_port_that_never_answers(monkeypatch):
    monkeypatch.setattr("ray_jobs.connect.ANSWER_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("0.0.0.0", 0))
        silent.listen()
        assert "got none (no answer within 2 s" in refused(local(silent.getsockname()[1]), monkeypatch)


def test_the_port_of_another_server(monkeypatch):
    with web_server(200) as port:
        line = refused(local(port), monkeypatch)
    assert "got another server; take the port of ray start --port (6379), not the dashboard's (8265)" in line
    with ThreadPoolExecutor(1) as pool:  # gRPC, but no head: the client's port, or a raylet's
        server = grpc.server(pool)
        port = server.add_insecure_port("0.0.0.0:0")
        server.start()
        assert "got another server" in refused(local(port), monkeypatch)
        server.stop(0)


def test_no_address_at_all(monkeypatch):
    assert "expected host:port of a cluster's head, or auto, got Invalid address format: head" in refused("head", monkeypatch)  # fmt: skip


def test_auto_without_a_cluster(monkeypatch):
    def none(address):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray_jobs.connect.canonicalize_bootstrap_address", none)
    line = refused("auto", monkeypatch)
    assert "expected a cluster on this machine, found none; start one (ray start --head)" in line


@pytest.mark.parametrize("token", [None, "ab" * 16])
def test_a_token_that_is_missing_or_wrong(token, monkeypatch):
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with head(unauthenticated) as port:
        line = refused(local(port), monkeypatch)
    assert "expected the cluster's token, got none or another one; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in line  # fmt: skip


def test_another_version_of_ray(monkeypatch):
    with head(version("2.7.1")) as port:
        line = refused(local(port), monkeypatch)
    assert f"expected a cluster of Ray {ray.__version__}, which is installed here, got Ray 2.7.1; use the same" in line  # fmt: skip


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"),
         "got RuntimeError: Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.12.1; use the same versions"),
        (ValueError("Can't find a `node_ip_address.json` file from the folder.\nHave you started Ray?"),
         "start the driver on a machine of the cluster, under the account that started Ray there, or submit it"),
        (ray.exceptions.AuthenticationError("no token"), "expected the cluster's token, got none or another one"),
    ],
)  # fmt: skip
def test_what_ray_finds_once_it_is_there(error, shown, monkeypatch):
    def init(*arguments, **more):
        raise error

    monkeypatch.setattr(ray, "init", init)
    with head(version(ray.__version__)) as port:
        assert shown in refused(local(port), monkeypatch)


def test_a_driver_says_it_in_one_line_before_any_work(tmp_path):
    """What the README says for the Jobs server, for a job that is run directly."""
    command = [
        sys.executable,
        "-m",
        "ray_jobs.train",
        "--data",
        tmp_path / "none",
        "--output",
        tmp_path / "run",
    ]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "RAY_ADDRESS": "http://127.0.0.1:8265"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: RAY_ADDRESS=http://127.0.0.1:8265: expected host:port of a cluster's head")


def test_the_demo_wants_the_jobs_server(monkeypatch):
    def line(url):
        with pytest.raises(UserError) as error:
            check_jobs_server(url)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "expected the address of a Jobs server, http://HOST:8265, got another" in line("127.0.0.1:6379")
    assert "got no answer" in line("http://127.0.0.1:9")
    assert "got no answer" in line("http://nosuch.invalid:8265")
    assert "got no answer" in line("http://127.0.0.1:99999")
    with web_server(404) as port:
        assert "got another server; take the port of the dashboard" in line(f"http://127.0.0.1:{port}")
    with web_server(200, b"<html>") as port:
        assert "got another server" in line(f"http://127.0.0.1:{port}/")
    for status in (401, 403):
        with web_server(status) as port:
            assert "expected the cluster's token, got none or another one" in line(f"http://127.0.0.1:{port}")
    with web_server(200, json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()) as port:
        check_jobs_server(f"http://127.0.0.1:{port}/")


def test_a_port_that_was_closed_just_now_is_free_for_those_who_can_take_it():
    """Ray's GCS cannot bind a port whose connections are in TIME_WAIT, and would end at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # who closes first waits
            assert client.recv(1) == b""
    assert free_port(port, set()) == port
    assert free_port(port, set(), just_closed=False) != port
