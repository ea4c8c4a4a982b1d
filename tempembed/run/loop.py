"""The training loop. It knows neither what it trains nor Ray nor MLflow: it is given a stage and a function to report to."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.reduce import barrier, gathered_objects
from tempembed.parallel.sharding import in_one_piece
from tempembed.run.best import Best, Probe, Selection, hand_over, measured, restored_evaluations
from tempembed.run.checkpoint import (
    disk_warning,
    load_checkpoint,
    read_notes,
    remove_after,
    remove_partial,
    save_checkpoint,
)
from tempembed.run.identity import differences
from tempembed.run.optimizer import adamw
from tempembed.run.stage import Stage
from tempembed.run.steps import Meter, Steps, on_ranks
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
    probe: Probe | None = None,
    probe_at: Collection[int] = (),
    selection: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = quiet,
    shard: bool = False,
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
        selection: the step whose weights are saved is the best by a metric of the probe, which is asked more often for
            it, and the run may end early; default: the last step's are saved.
        stop: asked at every report; once a rank's says yes, all ranks stop there, with a checkpoint and without a model.
        say: takes warnings: a disk that is nearly full, a checkpoint that is damaged; and how the step was chosen.
        shard: keep a part of the trunk's weights, gradients and optimiser state on each rank, where there are several.

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
    trunk = on_ranks(stage, shard=shard)
    optimizer = adamw(stage.parameter_groups())
    start = _start(stage, optimizer, output, resume=resume, say=say, keep=4 if selection else 2)
    best = _best(selection, stage, output, start)
    steps = Steps(stage, trunk, optimizer, optimizer_settings, loop.seed)
    watches = stage.watches()
    meter = Meter(stage, watches, start)
    stage.modules.train()
    if best and not start and best.is_due(0):
        best.add(0, _probed(probe, best, 0, say, in_one_piece(trunk, stage.device)))
    num_steps, done = stage.num_steps, start
    checkpoint_every = loop.checkpoint_every or stage.plan.steps_per_epoch
    saved_at = 0.0  # seconds since the start, alike on all ranks
    is_over = best is not None and best.is_out_of_patience  # and was stopped before it had saved the model
    for step in range(start, start if is_over else min(stop_after or num_steps, num_steps)):
        step_output, norm = steps.take(step, meter)
        stage.stopwatch.to("report")
        done = step + 1
        at_checkpoint = done < num_steps and (
            done % checkpoint_every == 0 or done in (stop_after, stage.branch_at)
        )
        is_due = best is not None and best.is_due(done)
        at_probe = done in probe_at or is_due
        at_report = done % loop.log_every == 0 or done == num_steps or at_probe
        if at_checkpoint or at_report:
            for watch in watches:
                watch.check()
        stopping = False
        if at_report:
            steps.warn_without_gradient(norm, done, say)
            metrics, asked = meter.metrics(done, step_output, stop())
            metrics |= {
                "train/learning_rate": optimizer.param_groups[0]["lr"],
                "train/grad_norm": norm.item(),
            }
            if at_probe:
                metrics |= _probed(probe, best, done, say, in_one_piece(trunk, stage.device))
            if best and is_due:
                best.add(done, metrics)
                metrics |= best.metrics()
                is_over = best.is_out_of_patience
                at_checkpoint |= best.step() == done < num_steps
            stopping = asked and done < num_steps and not is_over
            if loop.checkpoint_minutes and metrics["train/seconds"] - saved_at > 60 * loop.checkpoint_minutes:
                at_checkpoint |= done < num_steps
            if at_checkpoint:
                saved_at = metrics["train/seconds"]
            metrics |= {name: True for name, holds in (("stopping", stopping), ("is_over", is_over)) if holds}
            times = stage.stopwatch.seconds_per_lap()
            report({**metrics, **{f"time/{phase}": seconds for phase, seconds in times.items()}})
        del step_output  # its embeddings, before the next step makes its own
        if at_checkpoint or stopping:
            save_checkpoint(
                output / CHECKPOINTS, done, stage.modules, optimizer, dict(stage.identity),
                notes=best.notes() if best else None, also=best.step if best else lambda step: stage.branch_at,
            )  # fmt: skip
        if stopping or is_over:
            break
    is_done = done == num_steps or is_over
    if is_done:
        with in_one_piece(trunk, torch.device("cpu")):
            if is_first:
                _save(stage, best, done, output, say)
    barrier()
    return is_done


def _probed(
    probe: Probe | None,
    best: Best | None,
    done: int,
    say: Callable[[str], None],
    whole: AbstractContextManager[None],
) -> dict[str, float]:
    """The metrics of the probe, on all ranks; within `whole` rank 0 has all that it measures."""
    with whole:
        found, seconds = measured(probe)
    if best:
        best.tell(done, found, seconds, say)
    return found


def _best(selection: Selection | None, stage: Stage, output: Path, start: int) -> Best | None:
    """The evaluations so far, of the checkpoint that the run goes on from."""
    if selection is None:
        return None
    notes = read_notes(output / CHECKPOINTS, start) if start else {}
    return Best(selection, stage.num_steps, restored_evaluations(notes))


def _save(stage: Stage, best: Best | None, done: int, output: Path, say: Callable[[str], None]) -> None:
    """What the run is for, of the best step or of the last."""
    chosen = hand_over(best, done, output / CHECKPOINTS, stage.modules, say) if best else {}
    with room_for("model", output, sum(p.nbytes for p in stage.trunk.parameters())):
        stage.save(output)
        write_json(output / TRAINED, {**stage.identity, **chosen})


def _start(
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    output: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
    keep: int,
) -> int:
    """The step to go on from, with the state that it needs; 0 for a new run."""
    folder, is_first = output / CHECKPOINTS, rank_and_world_size()[0] == 0
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        if warning := disk_warning(folder, stage.modules, keep):
            say(warning)
    start = (
        load_checkpoint(
            folder, stage.modules, optimizer, stage.identity, say, restore=lambda there: dict(stage.restored(there)),
            shares=stage.shares,
        )
        if resume
        else 0
    )  # fmt: skip
    _agree_on(start)
    if is_first:
        (output / TRAINED).unlink(missing_ok=True)
        if start and stage.branch_at is not None:  # of a run with another number of steps that began alike
            remove_after(folder, start)
    return start


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
