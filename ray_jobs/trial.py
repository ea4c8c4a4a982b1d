"""One trial of a sweep, in a process of its own."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from ray_jobs.capacity import Workers
from ray_jobs.fit import fit, fit_here
from ray_jobs.metrics import RunMetrics
from ray_jobs.train_work import TrainAssignment
from tempembed.run.folder import SPOOL
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import InfrastructureError, UserError

ERROR, LOST = "error.txt", "lost.txt"
"""Files in a trial's folder: why the trial failed by itself; why its infrastructure failed, so that retrying may succeed."""


def trial(
    config: dict[str, Any],
    *,
    prepared: str,
    sweep: str,
    budgets: tuple[int, ...],
    probe_at: tuple[int, ...],
    workers: Workers | None,
    use_gpu: bool,
) -> None:
    """Train here, or drive a Ray Train run; leave the results in the trial's folder.

    Args:
        config: the trial: `name`, `settings`, and whether to `resume`.
        prepared: folder of the prepared data.
        sweep: folder of the sweep.
        budgets: bytes per vector whose codecs are measured.
        probe_at: steps after which the encoder is measured in mid-training.
        workers: Ray Train workers; None: train in this process.
        use_gpu: train on a GPU.

    Raises:
        InfrastructureError: the infrastructure failed; retrying may succeed.
        UserError: the trial failed.
    """
    name, root = config["name"], Path(sweep)
    folder = root / "trials" / name
    metrics = RunMetrics(run=name, sweep=root.name)
    assignment = TrainAssignment(
        settings=TrainSettings.from_dict(config["settings"]), prepared=Path(prepared), output=folder,
        spool=root / SPOOL, run=name, resume=config["resume"], budgets=budgets, probe_at=probe_at,
    )  # fmt: skip

    def tell(report: dict[str, Any]) -> None:
        metrics.after_report(None, [report], None)
        tune.report(report)

    for file in (ERROR, LOST):  # of an earlier attempt
        (folder / file).unlink(missing_ok=True)
    try:
        if workers:
            fit(assignment, workers, [TuneReportCallback(), metrics])
        else:
            fit_here(assignment, use_gpu=use_gpu, tell=tell)
    except InfrastructureError as error:  # nothing that the trial did: the board has it trained again
        with suppress(OSError):  # a full disk
            (folder / LOST).write_text(str(error))
        raise
    except UserError as error:
        (folder / ERROR).write_text(str(error))
        if not workers:  # Ray Train would have called this
            cause = error.__cause__
            metrics.after_exception(None, {0: cause if isinstance(cause, Exception) else error})
        raise
    finally:
        metrics.forget()
