"""Each of the commonest causes for which MLflow does not do what is asked is one line that says what to do, at the start."""

import http.server
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial

import mlflow.exceptions
import pytest
from mlflow import MlflowClient

from ray_jobs.local_stack import free_port
from tempembed.system.errors import UserError
from tempembed.tracking.causes import UnansweredError, answered, cause
from tempembed.tracking.courier import Courier
from tempembed.tracking.mlflow import MlflowTracker, check_server, start_run
from tempembed.tracking.registry import Registry
from tempembed.tracking.spool import Spool, replay
from tempembed.tracking.tracker import RefusedError
from tempembed.tracking.uri import check_uri
from tests.conftest import small_disk

pytestmark = pytest.mark.mlflow


def started(uri, experiment="e"):
    return start_run(uri, experiment, "run", {"seed": 1}, "identity")


REACH = {
    "check": lambda uri: check_server(uri, "e"),
    "train": started,
    "recommend": lambda uri: Registry(uri).name(None),
}


@pytest.fixture(params=REACH)
def reach(request, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")

    def line(uri):
        began = time.monotonic()
        with pytest.raises(UserError) as error:
            REACH[request.param](uri)
        assert time.monotonic() - began < 15
        found = str(error.value)
        assert "\n" not in found
        assert "MLflow at " in found
        assert "hunter2" not in found
        assert ": expected " in found
        assert "; " in found
        return found

    return line


@contextmanager
def server(status, body=b"nope", seconds=0.0):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(seconds)
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (401, b"nope", "expected to be let in, got 401; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (403, b"nope", "expected permission, got 403; ask for the right to write there"),
        (403, b"Invalid Host header - possible DNS rebinding attack detected", "start it with --allowed-hosts"),
        (404, b"<html>", "expected a tracking server, got another kind of server, or a path that is too much or too little"),
        (405, b"", "expected a tracking server, got another kind of server"),
        (200, b"<html>hello</html>", "expected a tracking server, got another kind of server"),
        (500, b"", "expected MLflow to answer, its server failed; its log says why"),
        (503, b"", "expected MLflow to answer, its server failed"),
        (429, b"", "expected MLflow to answer, its server failed"),
        (400, b"The plain HTTP request was sent to HTTPS port", "if it is one of https, write https://"),
    ],
)  # fmt: skip
def test_what_a_server_answers(reach, status, body, shown):
    with server(status, body) as uri:
        assert shown in reach(uri)


def test_a_server_that_answers_with_nothing():
    with server(200, b"{}") as uri, pytest.raises(UserError, match="expected a tracking server, got another kind of server"):  # fmt: skip
        started(uri)


def test_nothing_there(reach):
    assert "expected MLflow to answer, nothing does; start it (mlflow server), or correct host and port" in reach("http://127.0.0.1:9")  # fmt: skip
    assert "expected a host that is known, got a name that is not" in reach("http://nosuch.invalid:5000")


def test_a_server_that_hangs(reach):
    with server(200, seconds=30) as uri:
        assert "expected MLflow to answer in time, it did not" in reach(uri)


def test_https_where_there_is_none_and_the_reverse(reach):
    with server(200) as uri:
        assert "expected https, got a server without it; write http://" in reach(uri.replace("http", "https"))
    with socket.socket() as hangs_up:
        hangs_up.bind(("127.0.0.1", 0))
        hangs_up.listen()

        def close():
            with suppress(OSError):
                while True:
                    hangs_up.accept()[0].close()

        threading.Thread(target=close, daemon=True).start()
        found = reach(f"http://127.0.0.1:{hangs_up.getsockname()[1]}")
        assert "the server hung up; if it is one of https, write https://" in found


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("127.0.0.1:5000", "got host and port; write http://127.0.0.1:5000"),
        ("my-host:5000/path", "got host and port; write http://my-host:5000/path"),
        ("htp://me:hunter2@host:5000", r"expected http, https, .*, got htp://; correct it"),
        ("http://", "got one without a host or with no port that can be; correct it"),
        ("http://host:99999", "got one without a host or with no port that can be"),
    ],
)
def test_an_address_that_is_none(uri, shown):
    with pytest.raises(UserError, match=shown):
        check_uri(uri)


def test_a_folder_in_place_of_a_database(tmp_path):
    with pytest.raises(UserError, match=r"expected the file of a database, got a folder; name a file in it, such as .*/mlflow\.db"):  # fmt: skip
        check_uri(str(tmp_path))


def test_databases_that_are_servers(reach):
    """Nothing there, before MLflow tries for two minutes; and a driver that is not installed."""
    dead = reach(f"postgresql+psycopg2://me:hunter2@127.0.0.1:{free_port(0, set())}/db")
    assert "expected MLflow to answer, nothing does" in dead
    assert "a name that is not; correct it" in reach("mysql+pymysql://me:hunter2@nosuch.invalid/db")
    with server(200) as uri:
        line = reach(f"mysql+nosuchdriver://me:hunter2@127.0.0.1:{uri.rsplit(':', 1)[1]}/db")
        assert "nosuchdriver" in line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('connection to server at "h" (::1), port 5432 failed: FATAL:  password authentication failed for user "me"', "correct user and password"),
        ("(1045, \"Access denied for user 'me'@'localhost'\")", "correct user and password"),
        ('FATAL:  database "mlflow" does not exist', "expected a database, got the name of none"),
        ("SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "set MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ("(sqlite3.OperationalError) database is locked", "start a server (mlflow server), which several writers may share"),
        ('relation "experiments" does not exist', "expected MLflow's tables, some are missing"),
        ("Something never seen\nand a page of it", "expected MLflow to answer, got Something never seen; see its log"),
    ],
)  # fmt: skip
def test_what_databases_say(said, shown):
    error = mlflow.exceptions.MlflowException(said)
    with pytest.raises(UnansweredError, match=r"^MLflow at http://host") as found, answered("http://host"):
        raise error
    assert shown in str(found.value)
    assert cause(KeyError("ours")) is None
    with pytest.raises(KeyError), answered("http://host"):
        raise KeyError("ours")


@pytest.fixture(scope="module")
def database(tmp_path_factory, mlflow_tables):
    """MLflow's, with an experiment and a run."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    shutil.copy(mlflow_tables, path)
    started(f"sqlite:///{path}")
    return path


@pytest.fixture
def copied(database, tmp_path):
    """A copy of it, and its address."""
    path = tmp_path / "mlflow.db"
    shutil.copy(database, path)
    return path, f"sqlite:///{path}"


def test_a_deleted_experiment_is_said_as_that(copied, capsys):
    _, uri = copied
    client = MlflowClient(uri)
    number = client.get_experiment_by_name("e").experiment_id
    client.delete_experiment(number)
    for ask in (lambda: check_server(uri, "e"), lambda: started(uri)):
        with pytest.raises(
            UserError,
            match=rf"expected the experiment e or none of that name, it was deleted; restore it \(mlflow experiments restore "
            rf"--experiment-id {number}\), or choose another with --experiment NAME$",
        ):
            ask()
    assert started(uri, "another").run_id
    client.restore_experiment(number)
    check_server(uri, "e")
    assert started(uri).run_id


def test_a_deleted_run_is_told_anew_and_said(copied):
    _, uri = copied
    first = started(uri).run_id
    MlflowClient(uri).delete_run(first)
    said = []
    second = start_run(uri, "e", "run", {"seed": 1}, "identity", said.append)
    assert second.run_id != first
    assert said == [f"MLflow at {uri}: run run was deleted there; a new one is told everything"]
    assert start_run(uri, "e", "run", {"seed": 1}, "identity", said.append).run_id == second.run_id
    assert len(said) == 1


def test_a_run_that_is_deleted_meanwhile_is_said_once(copied, tmp_path):
    _, uri = copied
    root = started(uri)
    MlflowClient(uri).delete_run(root.run_id)
    spool, said = Spool(tmp_path / "mlflow.spool"), []
    for step in range(1, 6):
        spool.log("", {"step": step, "train/loss": 1.0})
    courier = Courier(
        spool, partial(replay, tracker=MlflowTracker(root, tmp_path)), uri, said.append, run_id=root.run_id
    )
    assert courier.close(20) == 0
    (line,) = said
    assert "its run was deleted there; restore it, or give the same command again, which tells a new run everything" in line  # fmt: skip
    assert len((tmp_path / "mlflow.refused").read_text().splitlines()) == 5


def test_a_file_that_has_no_permission_does_not_hold_up_the_numbers(copied, tmp_path):
    _, uri = copied
    root = started(uri)
    (tmp_path / "report.html").write_text("x")
    spool, said = Spool(tmp_path / "mlflow.spool"), []
    spool.run().file(tmp_path / "report.html")
    spool.log("", {"step": 1, "train/loss": 0.5})

    def no_permission(*arguments):
        raise PermissionError(13, "Permission denied", "/srv/mlartifacts")

    root._client.log_artifact = no_permission
    courier = Courier(
        spool, partial(replay, tracker=MlflowTracker(root, tmp_path)), uri, said.append, run_id=root.run_id
    )
    assert courier.close(20) == 0
    assert "refused a record ([Errno 13] Permission denied: '/srv/mlartifacts')" in said[0]
    assert MlflowClient(uri).get_run(root.run_id).data.metrics == {"train/loss": 0.5}


def test_settings_that_changed_do_not_keep_a_run_from_going_on(copied):
    """MLflow takes a parameter once."""
    _, uri = copied
    before = start_run(uri, "e", "run", {"log_every": 10, "seed": 1}, "grown").run_id
    after = start_run(uri, "e", "run", {"log_every": 2, "seed": 1, "more": 3}, "grown")
    assert after.run_id == before
    params = MlflowClient(uri).get_run(before).data.params
    assert params == {"log_every": "10", "seed": "1", "more": "3"}
    child = after.child("trial", {"data": "pairs.jsonl"})
    assert after.child("trial", {"data": "/data/pairs.jsonl", "width": 3}).run_id == child.run_id
    assert MlflowClient(uri).get_run(child.run_id).data.params == {"data": "pairs.jsonl", "width": "3"}


def test_a_database_of_another_version(copied, reach):
    path, uri = copied
    with sqlite3.connect(path) as tables:
        ((now,),) = tables.execute("select version_num from alembic_version").fetchall()
        tables.execute("update alembic_version set version_num = 'ffffffffffff'")
    tables.close()
    found = reach(uri)
    assert f"expected tables of this MLflow, got those of version ffffffffffff in place of {now}; install the MLflow" in found  # fmt: skip
    assert "mlflow db upgrade" in found


def test_a_database_that_is_read_only(database, tmp_path):
    with small_disk(tmp_path, "4m") as disk:
        shutil.copy(database, disk / "mlflow.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(
            UserError, match="expected a database that can be written, got one that is read-only"
        ):
            started(f"sqlite:///{disk / 'mlflow.db'}")
        for path in (disk / "new.db", disk / "new" / "mlflow.db"):
            with pytest.raises(
                UserError, match=rf"got a folder that cannot be written, {disk}; name another file"
            ):
                started(str(path))


def test_a_database_whose_disk_is_full(database, tmp_path):
    with small_disk(tmp_path, "3m") as disk:
        shutil.copy(database, disk / "mlflow.db")
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for name in ("mlflow.db", "new.db"):
            with pytest.raises(UserError, match="expected room for what it is told, its disk or its database is full; make room"):  # fmt: skip
                started(f"sqlite:///{disk / name}", "another")


def test_a_place_for_files_that_cannot_be_written(copied):
    path, uri = copied
    (path.parent / "mlartifacts").write_text("no folder")
    with pytest.raises(UserError, match=r"expected to write the files of its runs to .*mlartifacts.*; give the permission, or choose another --experiment"):  # fmt: skip
        started(uri, "another")


def test_what_a_version_is_of_is_gone(copied, tmp_path):
    path, uri = copied
    client, run = MlflowClient(uri), started(uri)
    client.create_registered_model("tempembed-a-1")
    client.create_model_version("tempembed-a-1", source=f"runs:/{run.run_id}/model", run_id=run.run_id)
    registry = Registry(uri)
    (version,) = registry.versions("tempembed-a-1")
    for ask in (lambda: registry.measured(version), lambda: registry.fetch(version, None, tmp_path / "into")):
        with pytest.raises(UserError, match=r"expected files of a run in the artifact store, they are not there \(.*(evaluation\.json|model).*\); restore them"):  # fmt: skip
            ask()
    with sqlite3.connect(path) as tables:
        tables.execute("pragma foreign_keys = off")
        tables.execute("delete from runs")
    tables.close()
    with pytest.raises(UserError, match="expected a run, it was deleted for good; restore MLflow's data"):
        registry.measured(version)


def test_what_the_courier_is_refused_twice_it_says_once(tmp_path):
    def deliver(record):
        raise RefusedError(f"reason {record['key']}")

    spool, said = Spool(tmp_path / "mlflow.spool"), []
    for key in ("a", "a", "b", "a"):
        spool.run().tag(key, "value")
    assert Courier(spool, deliver, "http://host:5000", said.append).close() == 0
    assert [line.partition("reason ")[2][0] for line in said] == ["a", "b"]
    assert len((tmp_path / "mlflow.refused").read_text().splitlines()) == 4
