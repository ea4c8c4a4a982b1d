import json
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from mlflow import MlflowClient

from tempembed.tracking.courier import Courier
from tempembed.tracking.lines import Lines
from tempembed.tracking.mlflow import MlflowTracker, start_run
from tempembed.tracking.spool import Spool, read_records, replay
from tempembed.tracking.tracker import RefusedError, UnreachableError


class Server:
    """Takes records; out while `out`; dies after taking one, before its answer, if `forgets`."""

    def __init__(self):
        self.taken, self.out, self.forgets, self.tries = [], False, False, 0

    def __call__(self, record):
        self.tries += 1
        if self.out:
            raise UnreachableError("nobody there")
        if record.get("key") == "bad":
            raise RefusedError("no such thing")
        self.taken.append(record)
        if self.forgets:
            self.forgets = False
            raise UnreachableError("answer lost")


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "mlflow.spool")


def steps(records):
    return [r["log"] for r in records if "log" in r]


def report(step):
    return {"step": step, "train/loss": 1 / step}


def test_an_outage_loses_nothing_and_keeps_the_order(spool):
    server, lines = Server(), []
    courier = Courier(spool, server, "a", lines.append)
    spool.log("", report(1))
    assert courier.drain(5) == 0
    server.out = True
    began = time.monotonic()
    for step in range(2, 102):
        spool.log("", report(step))
    assert time.monotonic() - began < 2  # nobody waits for the server
    assert courier.drain(1.2) == courier.depth == 100
    server.out, server.forgets = False, True
    assert courier.close(15) == 0
    assert list(dict.fromkeys(steps(server.taken))) == list(range(1, 102))
    assert sorted(steps(server.taken)) == steps(server.taken)
    assert "does not answer (nobody there)" in lines[0]
    assert any("answers again after" in line for line in lines)


def test_never_back_ends_soon_and_the_next_courier_goes_on(spool):
    server, lines = Server(), []
    server.out = True
    for step in (1, 2, 3):
        spool.log("", report(step))
    began = time.monotonic()
    assert Courier(spool, server, "a", lines.append).close(1) == 3
    assert time.monotonic() - began < 4
    assert f"3 records: they wait in {spool.path}" in lines[-1]
    server.out = False
    assert Courier(spool, server, "a").close(5) == 0
    assert steps(server.taken) == [1, 2, 3]
    assert Courier(spool, server, "a").close(5) == 0
    assert steps(server.taken) == [1, 2, 3]  # nothing twice
    other = Server()
    assert Courier(spool, other, "b").close(5) == 0
    assert steps(other.taken) == [1, 2, 3]  # another server is told everything


def test_a_record_that_is_refused_does_not_stop_the_others(spool):
    server, lines = Server(), []
    spool.run().tag("bad", "x")
    spool.run().tag("good", "y")
    assert Courier(spool, server, "a", lines.append).close(5) == 0
    assert [r["key"] for r in server.taken] == ["good"]
    assert json.loads(spool.path.with_suffix(".refused").read_text())["key"] == "bad"
    assert "refused a record" in lines[0]


def test_a_step_is_logged_once_by_any_process(spool):
    for step in (1, 2, 3):
        spool.log("trial", report(step))
    again = Spool(spool.path)  # as another process opens it
    for step in (2, 3, 4):
        again.log("trial", report(step))
    again.log("other", report(1))
    for each in (spool, again, Spool(spool.path)):
        each.run("trial").points([("score", 0.5, 0), ("score", 0.25, 8)])
    Spool(spool.path).run("trial").points([("score", 0.5, 0), ("score", 0.75, 8)])
    records = [record for record, _ in read_records(spool.path, 0)]
    assert steps([r for r in records if r["run"] == "trial"]) == [1, 2, 3, 4]
    assert steps([r for r in records if r["run"] == "other"]) == [1]
    told = [
        tuple(point) for r in records if r["kind"] == "points" and "log" not in r for point in r["points"]
    ]
    assert told[-1] == ("score", 0.75, 8)  # a new value is told, an old one is not
    assert told[-2] == ("score", 0.25, 8)


def test_a_line_that_was_cut_off_is_void(spool):
    spool.log("", report(1))
    with spool.path.open("ab") as file:
        file.write(b'{"run": "", "kind": "points", "lo')
    after = Spool(spool.path)
    after.log("", report(2))
    assert steps([record for record, _ in read_records(spool.path, 0)]) == [1, 2]


def test_lines_of_two_processes_do_not_mix(spool):
    code = (
        "import sys; from pathlib import Path; from tempembed.tracking.spool import Spool; s = Spool(Path(sys.argv[1]))\n"
        "for i in range(1, 301): s.log(sys.argv[2], {'step': i, 'x/y': 'z' and 1.0, **{f'a/{k}': k for k in range(50)}})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(spool.path), name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    records = [record for record, _ in read_records(spool.path, 0)]
    for name in "ab":
        assert steps([r for r in records if r["run"] == name]) == list(range(1, 301))


@pytest.mark.parametrize(
    "record",
    [
        {"run": "", "kind": "finish", "time": 1, "status": "NOPE"},
        {"run": "", "kind": "tag", "time": 10**30, "key": "k", "value": "v"},
        {"run": "", "kind": "tag", "time": 1, "key": "k", "value": "\udc80"},
        {"run": "", "kind": "points", "time": 1, "log": "x", "points": []},
        {"run": "", "kind": "points", "time": 1, "points": [["a", "1", 1]]},
        [],
    ],
)
def test_a_line_that_is_no_record_is_left_out(spool, record):
    spool.path.write_text(json.dumps(record) + "\n")
    again = Spool(spool.path)
    again.run().tag("k", "😀")
    assert [found["value"] for found, _ in read_records(spool.path, 0)] == ["😀"]


def test_a_record_that_nobody_can_take_does_not_hold_up_the_others(spool):
    taken = []

    def deliver(record):
        if record["key"] == "bad":
            raise Exception("no such thing")
        taken.append(record["key"])

    for key in ("first", "bad", "last"):
        spool.run().tag(key, "v")
    assert Courier(spool, deliver, "http://nowhere").close() == 0
    assert taken == ["first", "last"]
    assert "no such thing" in spool.path.with_suffix(".refused").read_text()


@pytest.mark.mlflow
def test_what_mlflow_cannot_have_is_refused_and_a_file_from_elsewhere_is_not_sent(tmp_path, mlflow_uri):
    """Whoever had a run's folder may have written into its spool."""
    output = tmp_path / "run"
    output.mkdir()
    (tmp_path / "secret.txt").write_text("x")
    (output / "link.txt").symlink_to(tmp_path / "secret.txt")
    root = start_run(mlflow_uri, "tests", "root", {}, "id")
    tracker = MlflowTracker(root, output)
    for path in (tmp_path / "secret.txt", "../secret.txt", "link.txt", "/dev/zero", "."):
        with pytest.raises(RefusedError):
            replay({"run": "", "kind": "file", "time": 1, "path": str(path)}, tracker)
    with pytest.raises(RefusedError):
        replay({"run": "", "kind": "points", "time": 1, "points": [["a" * 300, 1.0, 1]]}, tracker)
    assert MlflowClient(mlflow_uri).list_artifacts(root.run_id) == []


@pytest.mark.mlflow
def test_mlflow_keeps_what_it_is_told_twice_once(spool, tmp_path, mlflow_uri):
    root = start_run(mlflow_uri, "tests", "root", {}, "id")
    (tmp_path / "file.txt").write_text("x")
    trial = spool.run().child("trial", {"a": 1}, {"t": "v"})
    for step in (1, 2):
        spool.log("trial", report(step))
    trial.file(tmp_path / "file.txt")
    trial.file(tmp_path / "gone.txt")
    trial.finish("FINISHED")
    spool.run().finish("KILLED")
    started = []
    for record, _ in [*read_records(spool.path, 0), *read_records(spool.path, 0)]:
        try:
            replay(record, MlflowTracker(root, tmp_path, lambda *pair: started.append(pair)))
        except RefusedError as error:
            assert "gone.txt" in str(error)  # noqa: PT017
    client = MlflowClient(mlflow_uri)
    (run,) = client.search_runs([root._experiment_id], f"tags.`mlflow.parentRunId` = '{root.run_id}'")
    assert {pair for pair in started} == {("trial", run.info.run_id)}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert (run.info.status, run.data.params, run.data.tags["t"]) == ("FINISHED", {"a": "1"}, "v")
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["file.txt"]
    assert client.get_run(root.run_id).info.status == "KILLED"
    spool.run().start()
    for record, _ in read_records(spool.path, 0):
        with suppress(RefusedError):
            replay(record, MlflowTracker(root, tmp_path))
    assert client.get_run(root.run_id).info.status == "RUNNING"


def test_a_line_that_had_no_room_does_not_mix_with_anothers(tmp_path):
    """Two writers on a disk of 16 KB that is full for a while."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        one, other = Lines(disk / "lines"), Lines(disk / "lines")
        for number in range(12):
            one.append(b"one %02d " % number + b"x" * 1500)
            other.append(b"other %02d " % number + b"y" * 900)
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        one.append(b"one end")
        other.append(b"other end")
        lines = (disk / "lines").read_bytes().splitlines()
        for name, length in ((b"one", 1500), (b"other", 900)):
            mine = [line for line in lines if line.startswith(name + b" ")]
            assert [line.split()[1] for line in mine] == [*(b"%02d" % number for number in range(12)), b"end"]
            assert {len(line.split()[2]) for line in mine[:-1]} == {length}
        assert len(lines) == 26
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_new_run_behind_the_same_address_is_told_everything(spool):
    server = Server()
    for step in (1, 2):
        spool.log("", report(step))
    assert Courier(spool, server, "a", run_id="old").close(5) == 0
    assert Courier(spool, server, "a", run_id="old").close(5) == 0
    assert steps(server.taken) == [1, 2]
    assert Courier(spool, server, "a", run_id="new").close(5) == 0
    assert steps(server.taken) == [1, 2, 1, 2]
    spool.path.write_bytes(
        spool.path.read_bytes().splitlines(keepends=True)[0]
    )  # a folder that was copied back
    spool.path.with_suffix(".sent").write_text(json.dumps({"address": "a", "run_id": "new", "offset": 10**6}))
    assert Courier(spool, server, "a", run_id="new").close(5) == 0
    assert steps(server.taken)[4:] == [1]


def test_the_end_does_not_wait_long_for_a_server_that_is_away(spool):
    server = Server()
    server.out = True
    spool.log("", report(1))
    courier = Courier(spool, server, "a")
    time.sleep(0.3)
    began = time.monotonic()
    assert courier.close(60) == 1
    assert time.monotonic() - began < 10
