"""--tau auto: what it tries, what it chooses, and that nothing is tried twice."""

import json

import pytest
import torch

from tempembed.commands.train import Train, train_command
from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tuning import temperature as module
from tempembed.tuning.temperature import (
    CANDIDATES,
    Candidate,
    Choice,
    scaled,
    short_steps,
    with_chosen_temperature,
)


@pytest.fixture
def settings(data_dir):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"),
        width=64, vocabulary=400, batch_size=32, steps=20, log_every=10, objective="mrl:0.05", tau="auto",
    )  # fmt: skip


def test_terms_are_scaled_and_keep_their_ratios():
    assert scaled(parse_objective("infonce:0.3", 64), 0.05) == ("64@0.05",)
    assert scaled(parse_objective("mrl:0.06", 64), 0.02) == ("16@0.02", "32@0.02", "64@0.02")
    found = parse_terms(scaled(parse_objective("tempagg:0.03,0.06,0.12", 64), 0.1), 64)
    assert [term.temperature for term in found] == pytest.approx([0.05, 0.1, 0.2])
    weighted = scaled(parse_terms(["16@0.01*3", "64@0.16"], 64), 0.04)  # 0.01^(3/4) 0.16^(1/4) = 0.02
    assert weighted == ("16@0.02*3.0", "64@0.32")


@pytest.mark.parametrize("objective", ["infonce:learned(0.06)", "mrl:cosine(0.03,0.1)"])
def test_a_temperature_that_moves_is_refused_before_the_run(settings, tmp_path, objective):
    with pytest.raises(UserError, match="--tau auto: expected temperatures that do not move"):
        train_command(Train(output=str(tmp_path / "one"), train=with_settings(settings, objective=objective)))
    assert not (tmp_path / "one").exists()


def test_short_runs_are_short():
    assert [short_steps(n) for n in (10, 400, 1_000, 10**6)] == [10, 20, 50, 100]


def choice(scores: dict[float, float], noise: float) -> Choice:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1000, generator=generator)
    candidates = [
        Candidate(
            temperature=tau, score=score, seconds=2.0,
            replicates=tuple((score + 0.1 * shared + noise * torch.randn(1000, generator=generator)).tolist()),
        )
        for tau, score in scores.items()
    ]  # fmt: skip
    return Choice(key="", goal="retrieval", steps=20, candidates=tuple(candidates))


def test_intervals_are_paired():
    """What all candidates share cancels: differences of 0.05 stand out of a noise of 0.1 that is common to them."""
    found = choice({0.02: 0.6, 0.06: 0.65, 0.1: 0.649}, 0.01)
    assert found.best.temperature == 0.06
    low, high = found.behind(found.candidates[0])
    assert low == pytest.approx(-0.05 - 1.96 * 0.01 * 2**0.5, abs=0.004)
    assert high == pytest.approx(-0.05 + 1.96 * 0.01 * 2**0.5, abs=0.004)
    assert "--tau auto: 0.06, after 60 steps of short runs, 6 s" in found.lines()[-1]


def test_the_choice_is_the_best_of_the_dev_set_is_kept_and_is_not_repeated(settings, tmp_path, monkeypatch):
    train_command(Train(output=str(tmp_path / "one"), train=settings, stop_after=4))
    told = json.loads((tmp_path / "one" / "tau.json").read_text())
    assert [each["temperature"] for each in told["candidates"]] == list(CANDIDATES)
    best = max(told["candidates"], key=lambda each: each["score"])
    assert told["chosen"] == best["temperature"]
    monkeypatch.setattr(module, "trained", None)  # no short run any more
    train_command(Train(output=str(tmp_path / "one"), train=settings, resume=True))
    kept = json.loads((tmp_path / "one" / "settings.json").read_text())
    assert kept["terms"] == [f"{dim}@{told['chosen']:g}" for dim in (16, 32, 64)]
    trained = json.loads((tmp_path / "one" / "trained.json").read_text())
    assert trained["terms"] == kept["terms"]


def test_it_never_looks_at_the_test_and_goes_on_where_it_was_stopped(settings, tmp_path, monkeypatch):
    prepared = prepare(settings)
    monkeypatch.setattr(type(prepared), "evaluation", lambda self: pytest.fail("the test was read"))
    said, file = [], tmp_path / "tau.json"
    whole = with_chosen_temperature(settings, prepared, file, said.append, steps=3, candidates=(0.05, 0.5))
    told = json.loads(file.read_text())
    first = {**told, "candidates": told["candidates"][:1]}
    file.write_text(json.dumps(first))
    said.clear()
    again = with_chosen_temperature(settings, prepared, file, said.append, steps=3, candidates=(0.05, 0.5))
    assert again == whole
    assert [line for line in said if "steps at" in line] == ["--tau auto: 3 steps at 0.5"]
    scores = [
        [each["score"] for each in found["candidates"]] for found in (told, json.loads(file.read_text()))
    ]
    assert scores[0] == scores[1]


def test_what_is_of_another_run_is_not_taken(settings, tmp_path):
    prepared, file, said = prepare(settings), tmp_path / "tau.json", []
    for one in (settings, with_settings(settings, seed=1)):
        said.clear()
        with_chosen_temperature(one, prepared, file, said.append, steps=1, candidates=(0.05,))
        assert "--tau auto: 1 steps at 0.05" in said


def test_short_runs_side_by_side_choose_the_same(settings, tmp_path):
    """As a cluster runs them: each is made whole from what is sent."""
    prepared, said = prepare(settings), []
    one, two = (
        with_chosen_temperature(
            settings, prepared, tmp_path / f"{over}.json", said.append, steps=2, over=over
        )
        for over in (1, 2)
    )
    assert one == two
    tried = [json.loads((tmp_path / f"{over}.json").read_text())["candidates"] for over in (1, 2)]
    first, second = ([each["score"] for each in found] for found in tried)
    assert first == second
