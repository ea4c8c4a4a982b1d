"""The best step: what the loop hands over, when it stops, and that an interruption changes neither."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tempembed.parallel.pool import run_on_ranks
from tempembed.run.best import Best, Selection
from tempembed.run.checkpoint import checkpoints
from tempembed.run.loop import train
from tempembed.run.stage import Stage, StepOutput
from tempembed.settings.loop import LoopSettings
from tempembed.settings.optimizer import OptimizerSettings

STEPS = 20


class Plan:
    """Four rows a step, 64 steps an epoch, so that no epoch ends here."""

    global_batch_size, steps_per_epoch = 4, 64

    def rows(self, step, rank=0, world_size=1):
        return np.arange(4)[rank::world_size] + step


class Counting(Stage):
    """A weight that moves every step; what it is saved as says which step it is of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 1)
        self.modules = nn.ModuleDict({"trunk": self.trunk})
        self.plan, self.num_steps, self.identity = Plan(), STEPS, {"data": "x", "num_steps": STEPS, "seed": 0}

    def batch(self, step, rows):
        return torch.randn(len(rows), 3)

    def forward(self, batch, progress, trunk):
        return StepOutput(loss=trunk(batch).square().mean())

    def parameter_groups(self):
        return [{"params": list(self.trunk.parameters()), "peak": 0.1, "weight_decay": 0.0}]

    def save(self, folder: Path) -> None:
        torch.save(self.trunk.state_dict(), folder / "model.pt")

    def is_saved(self, folder: Path) -> bool:
        return (folder / "model.pt").exists()


def run(output: Path, scores: dict[int, float] | None, *, every=2, patience=0, settings=None, **more):
    """Train; the weights of each step, what was saved, and trained.json."""
    output.mkdir(exist_ok=True)
    stage, weights, said = Counting(), {}, []
    after_step = stage.after_step
    counter = SimpleNamespace(steps=more.pop("begin", 0))

    def noted():
        after_step()
        counter.steps += 1
        weights[counter.steps] = stage.trunk.weight.detach().clone()

    stage.after_step = noted
    selection = Selection(metric="probe/x", every=every, patience=patience) if scores else None
    is_done = train(
        stage, OptimizerSettings(), LoopSettings(log_every=50, checkpoint_every=3), output, lambda metrics: None,
        probe=(lambda: {"probe/x": scores[counter.steps]}) if scores else None, selection=selection, say=said.append, **more,
    )  # fmt: skip
    saved = torch.load(output / "model.pt")["weight"] if is_done else None
    told = json.loads((output / "trained.json").read_text()) if is_done else {}
    return SimpleNamespace(
        weights=weights, saved=saved, told=told.get("selection"), said=said, steps=counter.steps
    )


def peaked(at: int) -> dict[int, float]:
    return {step: 1 - abs(step - at) / 100 for step in range(STEPS + 1)}


@pytest.mark.parametrize("at", [2, 4, 8, 18, 20])
def test_the_best_step_is_handed_over(tmp_path, at):
    found = run(tmp_path, peaked(at))
    assert found.told["step"] == at
    assert torch.equal(found.saved, found.weights[at])
    assert found.steps == found.told["trained_steps"] == STEPS
    assert [step for step, _ in found.told["evaluations"]] == list(range(2, 21, 2))


def test_without_a_selection_the_last_step_is(tmp_path):
    found = run(tmp_path, None)
    assert torch.equal(found.saved, found.weights[STEPS])
    assert found.told is None


def test_of_equals_the_first_is(tmp_path):
    assert run(tmp_path, dict.fromkeys(range(21), 0.5)).told["step"] == 2


def test_patience_ends_the_run(tmp_path):
    found = run(tmp_path, peaked(6), patience=3)
    assert (found.told["step"], found.steps) == (6, 12)
    assert torch.equal(found.saved, found.weights[6])
    never = run(tmp_path / "never", {step: step / 100 for step in range(21)}, patience=1)
    assert (never.told["step"], never.steps) == (20, 20)


def test_the_best_and_the_newest_are_kept(tmp_path):
    run(tmp_path, peaked(4), stop_after=17)
    assert [path.name[-2:] for path in checkpoints(tmp_path / "checkpoints")] == ["04", "15", "17"]


@pytest.mark.parametrize("stops", [(1,), (4,), (5, 6, 7), (8, 9, 11), tuple(range(1, 12))])
def test_an_interruption_changes_neither_step_nor_bits(tmp_path, stops):
    whole = run(tmp_path / "whole", peaked(6), patience=3)
    begin = 0
    for stop in stops:
        part = run(tmp_path / "parts", peaked(6), patience=3, resume=True, stop_after=stop, begin=begin)
        assert part.saved is None
        begin = stop
    rest = run(tmp_path / "parts", peaked(6), patience=3, resume=True, begin=begin)
    assert rest.told == whole.told
    assert torch.equal(rest.saved, whole.saved)


@pytest.mark.parametrize("lost", [1, 2])
def test_killed_after_the_best_was_written_or_before(tmp_path, lost):
    """The newest checkpoints vanish, as if they had never been written: the same steps are evaluated again."""
    whole = run(tmp_path / "whole", peaked(6))
    run(tmp_path / "parts", peaked(6), stop_after=7)
    newest = checkpoints(tmp_path / "parts" / "checkpoints")
    assert [int(path.name[-2:]) for path in newest] == [6, 7]  # 6 needs no other: it is the best itself
    for path in newest[len(newest) - lost :]:
        shutil.rmtree(path)
    begin = {1: 6, 2: 0}[lost]
    rest = run(tmp_path / "parts", peaked(6), resume=True, begin=begin)
    assert rest.told == whole.told
    assert torch.equal(rest.saved, whole.saved)


def test_a_fall_back_past_the_best_still_has_the_one_before(tmp_path):
    """The best of before stays as long as a checkpoint is there that would go on with it."""
    scores = {**dict.fromkeys(range(21), 0.1), 4: 0.5, 8: 0.6}
    run(tmp_path, scores, stop_after=8)
    folder = tmp_path / "checkpoints"
    assert [int(path.name[-2:]) for path in checkpoints(folder)] == [4, 6, 8]
    (folder / "step_00000008" / "model.safetensors").write_bytes(b"")
    rest = run(tmp_path, {**scores, 8: 0.2}, resume=True, begin=6)  # rounding of another machine
    assert rest.told["step"] == 4


def test_stopped_between_the_last_evaluation_and_the_model(tmp_path):
    """A checkpoint of the step at which patience ended: no step more is taken."""
    run(tmp_path, peaked(6), patience=3, stop_after=11)
    scores = peaked(6)
    folder = tmp_path / "checkpoints"
    last = run(tmp_path / "other", scores, stop_after=12)  # the same steps, without patience
    assert last.saved is None
    shutil.copytree(tmp_path / "other" / "checkpoints" / "step_00000012", folder / "step_00000012")
    rest = run(tmp_path, scores, patience=3, resume=True, begin=12)
    assert (rest.steps, rest.told["step"]) == (12, 6)


def test_a_best_step_that_was_damaged_costs_the_choice_not_the_run(tmp_path):
    run(tmp_path, peaked(4), stop_after=10)
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000004")
    rest = run(tmp_path, peaked(4), resume=True, begin=10)
    assert rest.told["step"] == STEPS
    assert rest.told["why"] == "the best step, 4, is damaged"
    assert torch.equal(rest.saved, rest.weights[STEPS])
    assert any("the best step, 4, cannot be handed over" in line for line in rest.said)


def test_a_run_that_is_done_stays_so(tmp_path):
    run(tmp_path, peaked(4))
    again = run(tmp_path, peaked(4), resume=True)
    assert not again.weights
    assert again.told["step"] == 4


def test_the_start_is_for_comparison_only():
    best = Best(Selection(metric="m", every=5, with_start=True), 20)
    assert best.is_due(0)
    best.add(0, {"m": 0.9})
    assert best.step() is None
    best.add(5, {"m": 0.1})
    assert best.step() == 5
    assert not best.is_due(0)


def test_ten_evaluations_by_default():
    best = Best(Selection(metric="m"), 103)
    assert [step for step in range(1, 104) if best.is_due(step)] == [*range(10, 101, 10), 103]


def on_ranks(output: str) -> tuple[int, float]:
    """Rank 1 measures nothing, and ends at the same step with the same weights."""
    from tempembed.parallel.gather import rank_and_world_size

    scores, stage, count = peaked(6), Counting(), [0]
    after = stage.after_step

    def counted():
        after()
        count[0] += 1

    stage.after_step = counted
    is_first = rank_and_world_size()[0] == 0
    train(
        stage, OptimizerSettings(), LoopSettings(log_every=50), Path(output), lambda metrics: None,
        probe=(lambda: {"probe/x": scores[count[0]]}) if is_first else None,
        selection=Selection(metric="probe/x", every=2, patience=2),
    )  # fmt: skip
    return count[0], stage.trunk.weight.sum().item() if not is_first else 0.0


@pytest.mark.gloo
def test_all_ranks_stop_at_the_same_step(tmp_path):
    assert [steps for steps, _ in run_on_ranks(2, on_ranks, str(tmp_path))] == [10, 10]
    assert json.loads((tmp_path / "trained.json").read_text())["selection"]["step"] == 6
