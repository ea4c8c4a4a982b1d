"""The steps of a stage: forward, backward, the optimiser's step, and the metrics of those since the start."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.reduce import average_gradients, sum_over_ranks
from tempembed.parallel.sharding import ShardedTrunk
from tempembed.run.optimizer import clip, set_learning_rates
from tempembed.run.stage import Stage, StepOutput, Watch
from tempembed.settings.optimizer import OptimizerSettings


def on_ranks(stage: Stage, *, shard: bool) -> nn.Module:
    """The trunk as the stage's forward takes it, whose gradients are the mean over ranks."""
    if rank_and_world_size()[1] == 1:
        return stage.trunk
    if shard:
        half = stage.use_bfloat16 and stage.device.type == "cuda"  # a CPU's autocast casts what it multiplies
        return ShardedTrunk(stage.trunk, stage.blocks(), stage.device, bfloat16=half)
    # No module here has buffers that change; without a broadcast a forward is free of collectives
    return DistributedDataParallel(stage.trunk, gradient_as_bucket_view=True, broadcast_buffers=False)


class Steps:
    """Takes the steps of a stage, whose trunk is as `on_ranks` gave it."""

    def __init__(
        self,
        stage: Stage,
        trunk: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: OptimizerSettings,
        seed: int,
    ) -> None:
        self._stage, self._optimizer, self._settings, self._seed = stage, optimizer, settings, seed
        self._rank, self._world_size = rank_and_world_size()
        self._trunk = trunk
        wrapped = {id(parameter) for parameter in stage.trunk.parameters()}
        self._beside = [p for p in stage.modules.parameters() if id(p) not in wrapped]
        self._has_warned = False

    def take(self, step: int, meter: "Meter") -> tuple[StepOutput, Tensor]:
        """Forward, backward, and the optimiser's step; what it gave, and the norm of the trunk's gradient."""
        stage, num_steps, settings = self._stage, self._stage.num_steps, self._settings
        stage.stopwatch.to("data")
        # torch.manual_seed formats the stack for a GPU that is not in use yet, in 2 ms
        generator = torch.default_generator if stage.device.type == "cpu" else torch
        generator.manual_seed((self._seed * 1_000_003 + step) * 1_009 + self._rank)
        batch = stage.batch(step, stage.plan.rows(step, self._rank, self._world_size))
        output = stage.forward(batch, step / num_steps, self._trunk)
        meter.observe(step, output)
        stage.stopwatch.to("backward")
        output.loss.backward()
        average_gradients(self._beside)
        stage.stopwatch.to("optimizer")
        norm = clip(stage.trunk.parameters(), settings.max_grad_norm)
        set_learning_rates(self._optimizer, step, num_steps, settings)
        self._optimizer.step()
        self._optimizer.zero_grad()
        stage.after_step()
        return output, norm

    def warn_without_gradient(self, norm: Tensor, done: int, say: Callable[[str], None]) -> None:
        """Say once that nothing is learned."""
        if norm.item() == 0.0 and not self._has_warned:
            self._has_warned = True
            say(f"step {done}: the gradient is zero, nothing is learned; {self._stage.if_no_gradient}")


class Meter:
    """Metrics of the steps since the start: means over ranks, counts over ranks and steps, what the watches saw."""

    def __init__(self, stage: Stage, watches: Sequence[Watch], start: int) -> None:
        self._stage, self._watches, self._start = stage, watches, start
        self._began, self._sums = time.monotonic(), dict[str, Tensor]()

    def observe(self, step: int, output: StepOutput) -> None:
        """A step, on every rank."""
        for watch in self._watches:
            watch.observe(step, output)
        for name, count in output.sums.items():
            self._sums[name] = self._sums[name] + count if name in self._sums else count.clone()

    def metrics(self, done: int, output: StepOutput, stop: bool) -> tuple[dict[str, Any], bool]:
        """The metrics of a report, and whether any rank is to stop; alike on all ranks, for one reduction carries them all."""
        _, world_size = rank_and_world_size()
        means = {"loss": output.loss.detach(), **output.means}
        own = [*means.values(), *self._sums.values()]
        host = [float(stop), time.monotonic() - self._began]
        device = output.loss.device
        all_M = torch.cat(
            [
                torch.stack([value.double().to(device) for value in own]),
                torch.tensor(host, dtype=torch.float64, device=device),
            ]
        )
        sum_over_ranks(all_M)
        *values, stopping, seconds = all_M.tolist()
        seconds /= world_size
        steps, plan, unit = done - self._start, self._stage.plan, self._stage.unit
        sums = dict(zip(self._sums, values[len(means) :], strict=True))
        return {
            "step": done,
            "num_steps": self._stage.num_steps,
            **self._stage.about(),
            "epoch": done / plan.steps_per_epoch,
            **{f"train/{name}": value / world_size for name, value in zip(means, values, strict=False)},
            **{f"train/{name}_per_step": value / steps for name, value in sums.items()},
            **{name: value for watch in self._watches for name, value in watch.report(output).items()},
            **{f"train/{name}": value for name, value in self._stage.facts(done - 1).items()},
            "train/seconds": seconds,
            f"train/{unit}_per_second": sums.get(unit, steps * plan.global_batch_size) / seconds,
            "train/seconds_left": seconds / steps * (self._stage.num_steps - done),
        }, stopping > 0  # fmt: skip
