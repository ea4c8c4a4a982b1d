"""What makes a sweep the same sweep, and what may be added to it. No Ray is started."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest

from ray_jobs.prepared import PreparedData
from ray_jobs.queue import listed_trials, unfinished_trials
from ray_jobs.resume import named_as_before, restored_sweep, unlike
from ray_jobs.sweep import Sweep
from ray_jobs.tune import parsed
from tempembed.settings.flat import changed as with_settings
from tempembed.stages.identity import Facts
from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger

FACTS = Facts(data="aa", encoder="static", width=64, is_table=True, sizes=(320,))
PREPARED = PreparedData(
    folder=Path("prepared"), meta={}, kinds=("retrieval",), width=64, num_steps=20, facts=FACTS, test="tt"
)
GRID = with_settings(Sweep(), objectives=("infonce:0.05", "tempagg"), batch_size=32, steps=20, width=64)
SEARCH = with_settings(GRID, search="tpe", num_trials=4)


def written(sweep, trials=None):
    content = {"id": "0f", "settings": sweep.stored(), "data": "aa", "encoder_content": "static", "test": "tt",
               "trials": {name: each.to_dict() for name, each in (trials or {}).items()}}  # fmt: skip
    return json.loads(json.dumps(content))


def difference(sweep, before, prepared=PREPARED):
    return unlike(written(before), sweep, prepared, sweep.grid() if sweep.search == "grid" else {})


@pytest.mark.parametrize(
    "changed",
    [
        {"objectives": ("infonce:0.050", "tempagg:0.03,0.06,0.1")},
        {"objectives": ("tempagg", "mrl:0.1", "infonce:0.05")},
        {"seeds": (1, 0)},
        {"data": "./pairs.jsonl", "eval_data": "test.jsonl", "hold_out": 0.2},
        {"log_every": 1, "checkpoint_every": 3, "gradient_cache": True},
        {"num_workers": 0, "cpus_per_worker": 2.0, "max_failures": 9, "use_gpu": True},
        {"experiment": "another", "mlflow_uri": "http://host:5000", "output": "/shared/elsewhere"},
        {
            "num_trials": 2,
            "families": ("mrl",),
            "rungs": 4,
            "stop_bytes": 7,
        },  # of searches and early stopping
        {"objective": "mrl:0.3", "seed": 5},  # a grid has its own
        {"epochs": 9.0, "learning_rate": 0.01},
    ],
)
def test_a_grid_that_goes_on(changed):
    assert difference(with_settings(GRID, **changed), GRID) == ""


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"objectives": ("tempagg",)}, "trials: infonce-0.05-seed0 there, not here, others may be added"),
        ({"seeds": (1,)}, "trials: infonce-0.05-seed0, tempagg-seed0 there, not here"),
        ({"batch_size": 64}, "batch_size: 32 there, 64 here"),
        ({"steps": 30}, "num_steps: 20 there, 30 here"),
        ({"width": 32}, "width: 64 there, 32 here"),
        ({"beta": 0.5}, "beta: 0.0 there, 0.5 here"),
        ({"goals": ("retrieval",)}, "goals: retrieval clustering bytes-128 there, retrieval here"),
        ({"early_stop": True}, "early_stop: False there, True here"),
        ({"search": "tpe"}, "search: 'grid' there, 'tpe' here"),
    ],
)
def test_another_grid_is_refused(changed, shown):
    sweep = with_settings(GRID, **changed)
    facts = dataclasses.replace(FACTS, width=sweep.base.model.width)
    assert shown in difference(sweep, GRID, dataclasses.replace(PREPARED, facts=facts))


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"num_trials": 9}, ""),
        ({"num_trials": 4, "experiment": "another", "beta": 0.5, "objectives": ("mrl:0.1",)}, ""),
        ({"num_trials": 3}, "num_trials: 4 there, 3 here, it may only grow"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"families": ("mrl",)}, "families: "),
    ],
)
def test_a_search_may_be_given_more_trials(changed, shown):
    found = difference(with_settings(SEARCH, **changed), SEARCH)
    assert shown in found
    assert bool(found) == bool(shown)


def test_other_data_or_another_test_under_the_same_name():
    data = dataclasses.replace(PREPARED, facts=dataclasses.replace(FACTS, data="bb"))
    assert difference(SEARCH, SEARCH, data) == "content of --data: 'aa' there, 'bb' here"
    test = dataclasses.replace(PREPARED, test="uu")
    assert difference(GRID, GRID, test) == "test: 'tt' there, 'uu' here"


def test_a_sweep_that_an_earlier_version_wrote():
    """All settings but where it runs, and the fingerprint of the data."""
    there = written(GRID)
    del there["test"], there["encoder_content"], there["settings"]["stop_bytes"]
    there["settings"]["gone"] = 3
    assert unlike(there, GRID, PREPARED, GRID.grid()) == ""
    other = with_settings(GRID, batch_size=64)
    assert "batch_size: 32 there" in unlike(there, other, PREPARED, other.grid())
    with pytest.raises(UserError, match=r"expected the settings of a sweep.*restore the file"):
        restored_sweep({"batch_size": {}})


def test_trials_that_are_listed_by_name():
    """Those of a reproduction: others may be added, none may be taken away or be another under its name."""
    trials = GRID.grid()
    there = written(GRID, trials)
    more = {**trials, "one-more": with_settings(GRID.base, objective="mrl:0.1", seed=3)}
    assert unlike(there, GRID, PREPARED, more) == ""
    (first, *_) = trials
    assert f"trials: {first} there" in unlike(there, GRID, PREPARED, {k: v for k, v in trials.items() if k != first})  # fmt: skip
    other = {**trials, first: with_settings(trials[first], objective="mrl:0.2")}
    assert f"trials: {first} there" in unlike(there, GRID, PREPARED, other)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of a search that has ended, with two trials; another one was killed."""
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(tmp_path / "results" / "search")
    ledger.open(written(SEARCH))
    return ledger


def test_a_resumed_search_has_its_own_settings_and_what_is_asked_of_it(folder, tmp_path):
    sweep = parsed(["--resume", "search", "--num-trials", "20", "--log-every", "3"])
    assert sweep == with_settings(
        SEARCH, resume="search", num_trials=20, log_every=3, output=str(tmp_path / "results" / "search")
    )
    assert parsed(["--resume", "results/search"]).num_trials == 4
    for wrong, named in (
        (("--seed", "1"), "--seed"),
        (("--batch-size", "64", "--search", "nsga2"), "--batch-size, --search"),
        (("--fresh",), "--fresh"),
    ):
        with pytest.raises(
            UserError, match=f"expected no other settings than the sweep's own, got {named}; leave them out"
        ):
            parsed(["--resume", "search", *wrong])
    with pytest.raises(UserError, match=r"--resume none: .* found no sweep\.json in none or results/none"):
        parsed(["--resume", "none"])


def test_the_folder_keeps_what_was_added(folder):
    more = with_settings(SEARCH, num_trials=9)
    compare = partial(unlike, sweep=more, prepared=PREPARED, trials={})
    assert folder.open(written(more), unlike=compare)
    assert folder.settings()["settings"]["num_trials"] == 9
    with pytest.raises(UserError, match="num_trials: 9 there, 4 here, it may only grow"):
        folder.open(written(SEARCH), unlike=partial(compare, sweep=SEARCH))
    assert folder.settings()["id"] == "0f"


def test_a_trial_that_is_spelled_otherwise_is_not_trained_again(tmp_path):
    ledger = Ledger(tmp_path / "grid")
    assert [each["name"] for each in listed_trials(ledger, GRID.grid())] == [
        "infonce-0.05-seed0",
        "tempagg-seed0",
    ]
    other = with_settings(GRID, objectives=("tempagg:0.03,0.06,0.1", "infonce:0.050", "mrl:0.1"))
    listed = named_as_before(other.grid(), ledger.records(), FACTS)
    assert list(listed) == ["tempagg-seed0", "infonce-0.05-seed0", "mrl-0.1-seed0"]
    assert [each["name"] for each in listed_trials(ledger, listed)] == ["mrl-0.1-seed0"]


def test_a_trial_goes_on_where_its_data_and_its_encoder_are_now(tmp_path):
    ledger = Ledger(tmp_path / "grid")
    before = with_settings(GRID, data="pairs.jsonl", encoder="base", width=None, log_every=10)
    list(listed_trials(ledger, before.grid()))
    now = with_settings(before, data="/data/pairs.jsonl", encoder="/models/base", log_every=2)
    first, second = unfinished_trials(ledger, now.base)
    assert first["settings"] == {**before.grid()[first["name"]].to_dict(), "data": "/data/pairs.jsonl",
                                 "encoder": "/models/base", "log_every": 2}  # fmt: skip
    assert second["settings"]["objective"] == "tempagg"
