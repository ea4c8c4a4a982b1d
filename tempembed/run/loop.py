"""The training loop. It knows neither what it trains nor Ray nor MLflow: it is given a stage and a function to report to."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.reduce import average_gradients, barrier, gathered_objects, sum_over_ranks
from tempembed.run.checkpoint import disk_warning, load_checkpoint, remove_partial, save_checkpoint
from tempembed.run.identity import differences
from tempembed.run.optimizer import adamw, set_learning_rates
from tempembed.run.stage import Stage, StepOutput, Watch
from tempembed.settings.loop import LoopSettings
from tempembed.settings.optimizer import OptimizerSettings
from tempembed.system.atomic import write_json
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.memory import keep_freed_memory
from tempembed.system.untrusted import read_json

Report = Callable[[dict[str, Any]], None]
"""Takes the metrics of a step; all ranks call it at the same steps."""
TRAINED = "trained.json"
"""Written after the model: what it is the model of."""
CHECKPOINTS = "checkpoints"


def quiet(line: str) -> None:
    """Say nothing."""


def train(
    stage: Stage,
    optimizer_settings: OptimizerSettings,
    loop: LoopSettings,
    output: Path,
    report: Report,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    probe: Callable[[], Mapping[str, float]] | None = None,
    probe_at: Collection[int] = (),
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = quiet,
) -> bool:
    """Train a stage and save what it is for in `output`; a pure function of the stage, the settings and the world size.

    All ranks of a process group call it with the same arguments. Batches depend on (seed, epoch, position)
    only, randomness inside a step on (seed, step, rank) only, so a run that was stopped after a checkpoint
    and resumed ends with the same bits as one that was not. Resumed on another number of workers it sees the same
    batches and differs by rounding, and by dropout where there is any.

    Args:
        stage: what is trained, on its device, as it is before the first step.
        optimizer_settings: of AdamW and its schedule.
        loop: how often it reports and saves; the seed.
        output: takes what the stage saves, and `checkpoints/`; the same folder on all ranks.
        report: called every `log_every` steps and after the last with the step's metrics. `time/*` are seconds a step
            since the last report, as `Stopwatch` counts them: data, the stage's own phases, backward (the second
            forward of a gradient cache and DDP's reduction included), optimizer, and report with checkpoints and probes.
        resume: go on from the newest checkpoint in `output`, if there is one; if the run is done, nothing is left to do.
        stop_after: stop at this step as if interrupted, with a checkpoint and without a model.
        probe: measures the modules in mid-training; called on rank 0, its metrics join the step's report.
        probe_at: the steps after which it does.
        stop: asked at every report; once a rank's says yes, all ranks stop there, with a checkpoint and without a model.
        say: takes warnings: a disk that is nearly full, a checkpoint that is damaged.

    Returns:
        Whether the model is there: false if the run was stopped.

    Raises:
        NonFiniteLossError: names the step and the term.
        DiskFullError: no room for a checkpoint; those before it are intact.
        DamagedError: no checkpoint to resume from is intact.
        UserError: a batch that does not divide over the ranks, a checkpoint of other settings.
    """
    keep_freed_memory()
    done_before = resume and _is_trained(stage, output)
    _agree_on(stage.num_steps if done_before else 0)
    if done_before:
        return True
    is_first = rank_and_world_size()[0] == 0
    say = say if is_first else quiet
    optimizer = adamw(stage.parameter_groups())
    start = _start(stage, optimizer, output, resume=resume, say=say)
    steps = _Steps(stage, optimizer, optimizer_settings, loop.seed)
    watches = stage.watches()
    meter = _Meter(stage, watches, start)
    stage.modules.train()
    num_steps, done = stage.num_steps, start
    checkpoint_every = loop.checkpoint_every or stage.plan.steps_per_epoch
    for step in range(start, num_steps if stop_after is None else min(stop_after, num_steps)):
        step_output, norm = steps.take(step, meter)
        stage.stopwatch.to("report")
        done = step + 1
        at_checkpoint = done < num_steps and (done % checkpoint_every == 0 or done == stop_after)
        at_probe = done in probe_at
        at_report = done % loop.log_every == 0 or done == num_steps or at_probe
        if at_checkpoint or at_report:
            for watch in watches:
                watch.check()
        stopping = False
        if at_report:
            steps.warn_without_gradient(norm, done, say)
            metrics, asked = meter.metrics(done, step_output, stop())
            stopping = asked and done < num_steps
            metrics |= {
                "train/learning_rate": optimizer.param_groups[0]["lr"],
                "train/grad_norm": norm.item(),
            }
            if probe and at_probe and is_first:
                metrics |= probe()
            if stopping:
                metrics["stopping"] = True
            times = stage.stopwatch.seconds_per_lap()
            report({**metrics, **{f"time/{phase}": seconds for phase, seconds in times.items()}})
        del step_output  # its embeddings, before the next step makes its own
        if is_first and (at_checkpoint or stopping):
            save_checkpoint(output / CHECKPOINTS, done, stage.modules, optimizer, dict(stage.identity))
        if stopping:
            break
    if is_first and done == num_steps:
        with room_for("model", output, sum(p.nbytes for p in stage.trunk.parameters())):
            stage.save(output)
            write_json(output / TRAINED, dict(stage.identity))
    barrier()
    return done == num_steps


class _Steps:
    """Takes the steps of a stage."""

    def __init__(
        self, stage: Stage, optimizer: torch.optim.Optimizer, settings: OptimizerSettings, seed: int
    ) -> None:
        self._stage, self._optimizer, self._settings, self._seed = stage, optimizer, settings, seed
        self._rank, self._world_size = rank_and_world_size()
        # No module here has buffers that change; without a broadcast a forward is free of collectives
        self._trunk = (
            DistributedDataParallel(stage.trunk, gradient_as_bucket_view=True, broadcast_buffers=False)
            if self._world_size > 1
            else stage.trunk
        )
        wrapped = {id(parameter) for parameter in stage.trunk.parameters()}
        self._beside = [p for p in stage.modules.parameters() if id(p) not in wrapped]
        self._has_warned = False

    def take(self, step: int, meter: "_Meter") -> tuple[StepOutput, Tensor]:
        """Forward, backward, and the optimiser's step; what it gave, and the norm of the trunk's gradient."""
        stage, num_steps, settings = self._stage, self._stage.num_steps, self._settings
        stage.stopwatch.to("data")
        torch.manual_seed((self._seed * 1_000_003 + step) * 1_009 + self._rank)
        batch = stage.batch(step, stage.plan.rows(step, self._rank, self._world_size))
        output = stage.forward(batch, step / num_steps, self._trunk)
        meter.observe(step, output)
        stage.stopwatch.to("backward")
        output.loss.backward()
        average_gradients(self._beside)
        stage.stopwatch.to("optimizer")
        norm = torch.nn.utils.clip_grad_norm_(
            stage.trunk.parameters(), settings.max_grad_norm or torch.inf, error_if_nonfinite=False
        )
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


def _start(
    stage: Stage, optimizer: torch.optim.Optimizer, output: Path, *, resume: bool, say: Callable[[str], None]
) -> int:
    """The step to go on from, with the state that it needs; 0 for a new run."""
    folder, is_first = output / CHECKPOINTS, rank_and_world_size()[0] == 0
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        if warning := disk_warning(folder, stage.modules):
            say(warning)
    start = (
        load_checkpoint(
            folder, stage.modules, optimizer, dict(stage.identity), say, restore=lambda there: dict(stage.restored(there))
        )
        if resume
        else 0
    )  # fmt: skip
    _agree_on(start)
    if is_first:
        (output / TRAINED).unlink(missing_ok=True)
    return start


class _Meter:
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
        return {
            "step": done,
            "num_steps": self._stage.num_steps,
            **self._stage.about(),
            "epoch": done / plan.steps_per_epoch,
            **{f"train/{name}": value / world_size for name, value in zip(means, values, strict=False)},
            **{f"train/{name}_per_step": value / steps for name, value in zip(self._sums, values[len(means) :], strict=True)},
            **{name: value for watch in self._watches for name, value in watch.report(output).items()},
            **{f"train/{name}": value for name, value in self._stage.facts(done - 1).items()},
            "train/seconds": seconds,
            f"train/{unit}_per_second": steps * plan.global_batch_size / seconds,
            "train/seconds_left": seconds / steps * (self._stage.num_steps - done),
        }, stopping > 0  # fmt: skip


def _is_trained(stage: Stage, output: Path) -> bool:
    """Whether the folder has all that this run is for."""
    try:
        there = stage.restored(read_json(output / TRAINED))
    except (UserError, TypeError):
        return False
    is_complete = {"data", "num_steps", "seed"} <= there.keys() and stage.is_saved(output)
    return is_complete and not differences(there, stage.identity)


def _agree_on(start: int) -> None:
    """Refuse to train where ranks found unlike checkpoints, on a file system that shows them unlike things."""
    starts = gathered_objects(start)
    if len(set(starts)) > 1:
        raise UserError(
            f"resume: expected all ranks to find the same checkpoint, got steps {starts} by rank; "
            "--output must be one file system for all"
        )
