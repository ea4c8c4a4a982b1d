"""The files of a sweep, and every name that becomes part of a path."""

import shutil

from hypothesis import given
from hypothesis import strategies as st

from tempembed.system.names import NAME, check_name
from tempembed.system.untrusted import check_place
from tempembed.tracking.registry import registered_name
from tempembed.tuning.ledger import Ledger
from tests.fuzz.harness import damaged_json, only_our_errors, profile

SWEEP = {"id": "0f", "settings": {"seed": 0, "goals": ["retrieval"]}, "data": "ab", "trials": {}}
RECORD = {
    "name": "a",
    "number": 0,
    "status": "FINISHED",
    "settings": {"seed": 0},
    "goals": {"retrieval": 0.5},
}


@profile
@given(damaged_json(SWEEP), damaged_json(RECORD))
def test_ledger(folder, sweep, record):
    place = folder / "sweep"
    (place / "trials" / "a").mkdir(parents=True, exist_ok=True)
    (place / "sweep.json").write_bytes(sweep)
    (place / "trials" / "a" / "trial.json").write_bytes(record)
    ledger = Ledger(place)
    with only_our_errors("test_ledger", folder):
        assert isinstance(ledger.settings(), dict)
        ledger.open(SWEEP)
    with only_our_errors(None, folder):
        assert all(isinstance(record["number"], int) for record in ledger.records())


part = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "a",
            "x" * 300,
            "\0",
            "~",
            "a b",
            "é",
            "con",
            "-",
            "'",
            '"',
            "\n",
            "C:",
            "a" * 128,
            "a" * 129,
            "\udcff",
        ]
    ),
    st.text(max_size=6),
)
name = st.lists(part, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["/", "\\", "", "."]).map(lambda by: by.join(parts))
)


@profile
@given(name)
def test_names(folder, name):
    root = folder / "sweeps"
    root.mkdir(exist_ok=True)
    with only_our_errors("test_names", folder):
        assert check_name(name, "run") == name
        assert (root / name).resolve().parent == root.resolve()
    with only_our_errors(None):
        ledger = Ledger(root / name)
        assert NAME.fullmatch(ledger.folder.name)
        (root / "ok").mkdir(exist_ok=True)
        place = Ledger(root / "ok").trial_folder(name)
        assert place.resolve().parent == (root / "ok" / "trials").resolve()
        place.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / "ok")
    with only_our_errors(None, folder):
        check_place(root / name, "output")
        (root / name).exists()
    assert NAME.fullmatch(registered_name(name, "0123456789abcdef"))
