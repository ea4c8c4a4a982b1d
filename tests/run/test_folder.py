import errno
import fcntl
import json

import pytest

from tempembed.run.folder import RunFolder, hold
from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger

SETTINGS = {"id": "0f", "settings": {"seed": 0}}


@pytest.mark.parametrize(
    ("kind", "foreign"), [(RunFolder, "evaluation.json"), (RunFolder, "checkpoints"), (Ledger, "trials.json")]
)
def test_what_another_program_left_is_not_taken_for_this_run(tmp_path, kind, foreign):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / foreign).write_text("{}")
    with pytest.raises(UserError, match=f"found {foreign} and no such file.*--fresh"):
        kind(folder).open(SETTINGS)
    assert not kind(folder).open(SETTINGS, fresh=True)
    assert not (folder / foreign).exists()
    assert kind(folder).open(SETTINGS)


def test_fresh_that_was_killed_is_not_gone_on_with(tmp_path):
    run = RunFolder(tmp_path / "one")
    run.open(SETTINGS)
    (run.folder / "evaluation.json").write_text("{}")
    (run.folder / run.file).unlink()  # the first thing that it removes
    with pytest.raises(UserError, match=r"found evaluation\.json"):
        run.open(SETTINGS)


def test_the_settings_and_the_data_of_a_run_are_its_own(tmp_path):
    run = RunFolder(tmp_path / "one")
    run.open(SETTINGS | {"fingerprint": "ab"})
    assert json.loads((run.folder / "run.json").read_text())["fingerprint"] == "ab"
    with pytest.raises(UserError, match="fingerprint: 'ab' there, 'cd' here"):
        run.open(SETTINGS | {"fingerprint": "cd"})


def test_a_file_system_without_locks_is_not_another_driver(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UserError, match=r"expected a file system that can lock a file.*No locks available"):
        hold(tmp_path / "one", "run")
