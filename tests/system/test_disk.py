"""A full disk that no exception names: half of a pickle, a process that is gone. The room is looked at when a run ends badly."""

import errno
import os
import pickle
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import ray

import ray_jobs.fit
import ray_jobs.open_sweep
import ray_jobs.sweep_driver
from ray_jobs.board import Board
from ray_jobs.capacity import Workers
from ray_jobs.fit import fit, fit_here
from ray_jobs.prepared import PreparedData
from ray_jobs.sweep import Sweep
from ray_jobs.sweep_driver import sweep_trials
from ray_jobs.train_work import TrainAssignment
from tempembed.commands.train import Train, train_command
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts
from tempembed.system.disk import ROOM, DiskFullError, blamed_on_disk, full_disk, has_room
from tempembed.system.errors import InfrastructureError, UserError
from tempembed.tuning.ledger import Ledger
from tests.conftest import make_room, small_disk


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path, "8m") as disk:
        yield disk


def fill(disk):
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def truncated_pickle(disk):
    """What Ray meets: state that it wrote while there was room for half of it."""
    fill(disk)
    with suppress(OSError):
        (disk / "state.pkl").write_bytes(pickle.dumps(list(range(1000))))
    pickle.loads((disk / "state.pkl").read_bytes())


FULL = r"^the disk is full: expected room for 4\.2 MB in .*, got 0\.0 MB; it is the likely cause of what ended the run \({}\); make room"


def full(why):
    return FULL.format(why)


def test_room_is_found_by_trying(disk, tmp_path, monkeypatch):
    assert has_room(disk)
    assert has_room(disk / "not" / "there")
    fill(disk)
    assert not has_room(disk)
    assert not has_room(disk / "not" / "there")
    assert has_room(disk, 0)
    (disk / "filler").unlink()
    assert has_room(disk)
    assert not list(disk.iterdir())

    def quota(descriptor):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", quota)
    assert not has_room(tmp_path)

    def no_permission(descriptor):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", no_permission)
    assert has_room(tmp_path)  # who may not write there fills nothing


def test_used_up_inodes_are_a_full_disk(tmp_path):
    with small_disk(tmp_path, "16m,nr_inodes=10") as disk:
        assert has_room(disk)
        with suppress(OSError):
            for i in range(100):
                (disk / str(i)).touch()
        assert not has_room(disk)


def test_an_error_that_names_nothing_is_blamed_on_a_full_disk(disk, tmp_path):
    with (
        pytest.raises(DiskFullError, match=full("EOFError: Ran out of input")),
        blamed_on_disk(tmp_path, disk),
    ):
        truncated_pickle(disk)
    with pytest.raises(DiskFullError, match=full("worker 1: its process died")), blamed_on_disk(disk):
        raise InfrastructureError("worker 1: its process died")
    with pytest.raises(UserError, match=r"^--seed") as own, blamed_on_disk(disk):
        raise UserError("--seed: expected one")
    assert not isinstance(own.value, DiskFullError)
    with pytest.raises(OSError, match="No space left"), blamed_on_disk(disk):
        (disk / "more").write_bytes(b"x" * ROOM)  # names it itself
    make_room(disk, "64m")
    with pytest.raises(EOFError), blamed_on_disk(tmp_path, disk):
        raise EOFError("Ran out of input")


@pytest.fixture
def no_ray(monkeypatch):
    """A cluster with room, and a trainer that is never asked."""
    monkeypatch.setattr(ray_jobs.fit, "await_room", lambda *size: True)
    monkeypatch.setattr(ray_jobs.fit, "TorchTrainer", lambda *arguments, **more: None)
    monkeypatch.setattr(ray_jobs.fit, "has_capacity", lambda workers: False)


def assignment(disk, output):
    return TrainAssignment(
        settings=TrainSettings.of(batch_size=32), prepared=disk / "p", output=output, spool=disk / "s"
    )


def fitted(disk):
    fit(assignment(disk, disk / "sweep" / "trials" / "one"), Workers(num_workers=2, max_failures=0))


def test_train_that_reads_half_of_its_own_state(disk, no_ray, monkeypatch):
    def meets_it(trainer):
        truncated_pickle(disk)

    monkeypatch.setattr(ray_jobs.fit, "_wait_for", meets_it)
    with pytest.raises(DiskFullError, match=full("EOFError: Ran out of input")):
        fitted(disk)


def test_trains_own_errors_on_a_full_disk(disk, no_ray, monkeypatch):
    from ray.train import WorkerGroupError

    failure = {}

    def fails(trainer):
        fill(disk)
        raise failure["is"]

    monkeypatch.setattr(ray_jobs.fit, "_wait_for", fails)
    failure["is"] = ray.exceptions.RayActorError()
    with pytest.raises(DiskFullError, match=r"what ended the run .Ray Train's controller died"):
        fitted(disk)
    failure["is"] = WorkerGroupError("failed", {1: EOFError("Ran out of input")})
    with pytest.raises(DiskFullError, match="worker 1: EOFError: Ran out of input"):
        fitted(disk)
    failure["is"] = WorkerGroupError("failed", {1: UserError("step 1: expected a finite loss")})
    with pytest.raises(UserError, match=r"^worker 1: UserError: step 1: expected a finite loss"):
        fitted(disk)  # names its cause itself
    (disk / "filler").unlink()
    monkeypatch.setattr(ray_jobs.fit, "_wait_for", lambda trainer: (_ for _ in ()).throw(failure["is"]))
    failure["is"] = WorkerGroupError("failed", {1: EOFError("Ran out of input")})
    with pytest.raises(UserError, match=r"^worker 1: EOFError: Ran out of input$"):
        fitted(disk)


def test_a_trial_in_its_own_process(disk, monkeypatch):
    monkeypatch.setattr(TrainAssignment, "begin", lambda *arguments: truncated_pickle(disk))
    with pytest.raises(DiskFullError, match=full("EOFError: Ran out of input")):
        fit_here(assignment(disk, disk / "one"), tell=lambda report: None)


def test_a_sweep_whose_disk_is_full_when_tune_reads_its_state(disk, monkeypatch, capsys):
    """Tune's snapshot was cut off, and its own error says nothing of the disk."""
    facts = Facts(data="aa", encoder="static", width=64, is_table=True, sizes=(320,))
    prepared = PreparedData(
        folder=disk / "p", meta={"num_pairs": 320, "fingerprint": "aa", "test": ""}, kinds=("retrieval",), width=64, num_steps=20,
        facts=facts, test="tt",
    )  # fmt: skip
    monkeypatch.setattr(ray_jobs.sweep_driver, "connect", lambda: None)
    monkeypatch.setattr(ray_jobs.open_sweep, "check_capacity", lambda *size: 1)
    monkeypatch.setattr(ray_jobs.sweep_driver, "await_room", lambda *size: True)
    monkeypatch.setattr(ray_jobs.open_sweep, "prepare_in_subprocess", lambda settings: prepared)
    monkeypatch.setattr(ray_jobs.sweep_driver, "export_backlog", lambda *arguments, **more: None)
    monkeypatch.setattr(ray_jobs.sweep_driver, "delivery", lambda *arguments: nullcontext({}))
    monkeypatch.setattr(ray_jobs.sweep_driver, "run_trials", lambda *arguments: truncated_pickle(disk))
    sweep = with_settings(
        Sweep(), objectives=("infonce:0.1",), output=str(disk / "sweep"), batch_size=32, width=64, steps=20
    )
    with pytest.raises(DiskFullError, match=full("EOFError: Ran out of input")):
        sweep_trials(sweep)


def test_a_trial_that_could_not_say_that_the_disk_was_full(disk):
    ledger = Ledger(disk / "sweep")
    ledger.record("one", number=0, status="RUNNING", settings=TrainSettings().to_dict())
    (ledger.trial_folder("one") / "lost.txt").touch()  # there was no room for the reason
    board = Board(None, ledger, num_trials=1, at_once=1, width=64, goals=("retrieval",), study=None)
    (disk / "filler").write_bytes(b"x" * (8 * 2**20 - ROOM))
    board.give_up()
    record = ledger.known("one")
    assert record["lost"]
    assert record["error"].startswith("the disk is full: expected room for 4.2 MB in ")
    assert "its processes died" in record["error"]


def test_the_command_looks_at_its_disk_too(disk, data_dir, monkeypatch):
    import tempembed.stages.contrastive

    def trained(*arguments, **more):
        truncated_pickle(disk)

    monkeypatch.setattr(tempembed.stages.contrastive, "train_pairs", trained)
    settings = Train(train=TrainSettings.of(data=str(data_dir / "train.parquet"), width=64, vocabulary=400, batch_size=32), output=str(disk / "run"))  # fmt: skip
    with pytest.raises(DiskFullError, match=full("EOFError: Ran out of input")):
        train_command(settings)
    (disk / "filler").unlink()
    with pytest.raises(DiskFullError, match=r"got 0\.0 MB"):
        train_command(with_settings(settings, resume=True))


def test_places_are_looked_at_in_their_order(disk, tmp_path):
    fill(disk)
    found = full_disk(EOFError("Ran out of input"), (tmp_path, Path(disk)))
    assert found is not None
    assert f"in {disk}," in str(found)
    assert full_disk(EOFError("Ran out of input"), (tmp_path,)) is None
