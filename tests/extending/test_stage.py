"""A stage of another package: an autoencoder of vectors. docs/extending/stage.md shows it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tempembed.inputs.batches import BatchPlan
from tempembed.parallel.pool import run_on_ranks
from tempembed.run.checkpoint import checkpoints
from tempembed.run.loop import train
from tempembed.run.stage import Stage, StepOutput
from tempembed.settings.loop import LoopSettings
from tempembed.settings.optimizer import OptimizerSettings
from tempembed.system.errors import UserError


class Autoencoder(Stage):
    """Vectors through a narrow layer and back."""

    unit = "vectors"

    def __init__(self, vectors, *, batch_size=16, num_steps=20, width=2):
        super().__init__()
        torch.manual_seed(0)
        self.vectors = vectors
        self.trunk = nn.Sequential(nn.Linear(vectors.shape[1], width), nn.Linear(width, vectors.shape[1]))
        self.scale = nn.Parameter(torch.ones(()))  # outside of what DDP wraps
        self.modules = nn.ModuleDict({"trunk": self.trunk, "scale": nn.ParameterList([self.scale])})
        self.plan = BatchPlan(num_rows=len(vectors), global_batch_size=batch_size, seed=0)
        self.num_steps = num_steps
        self.identity = {"data": "vectors", "num_steps": num_steps, "seed": 0, "width": width}

    def batch(self, step, rows):
        return self.vectors[torch.from_numpy(rows)]

    def forward(self, batch, progress, trunk):
        self.stopwatch.to("reconstruct")
        error_B = (self.scale * trunk(batch) - batch).square().mean(1)
        worst = (error_B > 1).sum()
        return StepOutput(loss=error_B.mean(), means={"error": error_B.detach().mean()}, sums={"bad": worst})

    def parameter_groups(self):
        return [{"params": list(self.modules.parameters()), "peak": 0.1, "weight_decay": 0.0}]

    def save(self, folder):
        torch.save(self.trunk.state_dict(), folder / "autoencoder.pt")

    def is_saved(self, folder):
        return (folder / "autoencoder.pt").exists()


def vectors():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(96, 2, generator=generator) @ torch.randn(2, 10, generator=generator)


LOOP = LoopSettings(log_every=5, checkpoint_every=8)


def trained(output, **options):
    reports: list[dict] = []
    output.mkdir(exist_ok=True)
    stage = Autoencoder(vectors())
    done = train(stage, OptimizerSettings(), LOOP, output, reports.append, **options)
    return done, stage, reports


def test_it_is_trained_reported_and_saved_by_the_loop(tmp_path):
    done, stage, reports = trained(tmp_path / "run")
    assert done
    assert stage.is_saved(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "trained.json").read_text()) == stage.identity
    assert [report["step"] for report in reports] == [5, 10, 15, 20]
    assert reports[-1]["train/loss"] < 0.7 * reports[0]["train/loss"]
    assert reports[-1]["train/error"] == pytest.approx(reports[-1]["train/loss"], rel=1e-6)
    assert reports[-1]["train/bad_per_step"] >= 0
    assert {"train/vectors_per_second", "time/reconstruct", "time/backward"} <= reports[-1].keys()


def test_stopped_and_resumed_it_has_the_same_bits(tmp_path):
    _, whole, _ = trained(tmp_path / "whole")
    assert not trained(tmp_path / "cut", stop_after=9)[0]
    assert [path.name for path in checkpoints(tmp_path / "cut" / "checkpoints")] == [
        "step_00000008",
        "step_00000009",
    ]
    _, resumed, reports = trained(tmp_path / "cut", resume=True)
    assert [report["step"] for report in reports] == [10, 15, 20]
    for name, value in whole.modules.state_dict().items():
        assert torch.equal(value, resumed.modules.state_dict()[name]), name
    assert trained(tmp_path / "cut", resume=True)[2] == []  # it is done


def test_a_checkpoint_of_another_is_refused(tmp_path):
    trained(tmp_path / "run", stop_after=9)
    other = Autoencoder(vectors(), width=3)
    with pytest.raises(UserError, match="width: 2 there, 3 here"):
        train(other, OptimizerSettings(), LOOP, tmp_path / "run", print, resume=True)


def on_a_rank(output):
    _, stage, reports = trained(output)
    return {name: value.numpy() for name, value in stage.modules.state_dict().items()}, reports


@pytest.mark.gloo
def test_on_two_ranks_it_is_the_same_run(tmp_path):
    """The trunk's gradients are averaged by DDP, that of the scale by the loop."""
    _, alone, reports = trained(tmp_path / "one")
    (first, told), (second, _) = run_on_ranks(2, on_a_rank, tmp_path / "two")
    for name, value in alone.modules.state_dict().items():
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], value, rtol=1e-4, atol=1e-5)
    for name in ("train/loss", "train/bad_per_step"):
        assert [r[name] for r in told] == pytest.approx([r[name] for r in reports], rel=1e-4)
