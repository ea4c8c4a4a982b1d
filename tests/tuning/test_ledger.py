import json
import subprocess
import sys

import pytest

from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger


def test_a_sweep_is_its_settings_and_its_folder(tmp_path):
    ledger = Ledger(tmp_path / "one")
    ledger.lock()
    assert not ledger.open({"seed": 0, "objectives": ("a", "b")})
    ledger.record("b", number=1, status="RUNNING")
    ledger.record("a", number=0, status="RUNNING", settings={"x": 1})
    ledger.record("a", status="FINISHED")
    assert Ledger(tmp_path / "one").open({"seed": 0, "objectives": ["a", "b"]})
    assert [(r["name"], r["status"]) for r in ledger.records()] == [("a", "FINISHED"), ("b", "RUNNING")]
    assert ledger.records()[0]["settings"] == {"x": 1}
    with pytest.raises(UserError, match=r"got others \(seed: 0 there, 1 here\); choose another --output"):
        ledger.open({"seed": 1, "objectives": ["a", "b"]})
    with pytest.raises(UserError, match=r"got others \(batch: None there, 3 here"):
        ledger.open({"seed": 0, "objectives": ["a", "b"], "settings": {"batch": 3}})
    assert ledger.records()  # nothing is lost by asking
    assert not ledger.open({"seed": 1}, fresh=True)
    assert ledger.records() == []


def test_a_setting_that_is_newer_than_the_sweep_has_its_default(tmp_path):
    Ledger(tmp_path / "one").open({"id": "a", "settings": {"seed": 0}})
    now, defaults = {"id": "a", "settings": {"seed": 0, "goals": ["x"]}}, {"seed": 7, "goals": ("x",)}
    assert Ledger(tmp_path / "one").open(now, defaults=defaults)
    with pytest.raises(UserError, match=r"goals: \['y'\] there, \['x'\] here"):
        Ledger(tmp_path / "one").open(now, defaults={"goals": ["y"]})
    with pytest.raises(UserError, match="goals: None there"):
        Ledger(tmp_path / "one").open(now)


def test_a_second_live_driver_is_refused(tmp_path):
    Ledger(tmp_path / "one").lock()
    first = Ledger(tmp_path / "two")
    first.lock()
    code = "import sys; from pathlib import Path; from tempembed.tuning.ledger import Ledger; Ledger(Path(sys.argv[1])).lock()"
    second = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "two"], capture_output=True, text=True, check=False
    )
    assert second.returncode
    assert "expected no other driver at work on it" in second.stderr


def test_damage_and_names(tmp_path):
    ledger = Ledger(tmp_path / "one")
    ledger.open({})
    (tmp_path / "one" / "sweep.json").write_text('{"half')
    with pytest.raises(UserError, match=r"sweep\.json: expected JSON that tempembed wrote"):
        ledger.open({})
    ledger.record("a", number=0)
    path = tmp_path / "one" / "trials" / "a" / "trial.json"
    path.write_text(json.dumps([1]))
    with pytest.raises(UserError, match="trial"):
        ledger.records()
    with pytest.raises(UserError, match="expected a name of letters"):
        Ledger(tmp_path / "..")
