"""What one process does of a contrastive run: train with the others, then, on rank 0, measure."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_jobs.capacity import Workers
from ray_jobs.worker import STOP, Assignment, Place, Reports, Tell
from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainAssignment(Assignment):
    """A contrastive run."""

    settings: TrainSettings
    prepared: Path
    """Folder of the prepared data."""
    budgets: tuple[int, ...] = ALIAS_BUDGETS
    """Bytes per vector whose codecs are measured besides the paper's."""

    def begin(self, workers: Workers, place: Place) -> "TrainWork":
        """The work of the process at `place`."""
        return TrainWork(self, workers, place)


class TrainWork:
    """The part of a run that one process does.

    Rank 0 writes the model and `evaluation.json` into the output, and its reports to metrics.jsonl and the spool.
    """

    def __init__(self, assignment: TrainAssignment, workers: Workers, place: Place) -> None:
        from tempembed.stages.prepared import Prepared
        from tempembed.tuning.judge import measured_part

        self._assignment, self._workers, self._place = assignment, workers, place
        self._settings = assignment.settings
        if place.world_size < workers.num_workers:  # all of the batch on fewer: in parts, so that it fits
            self._settings = changed(self._settings, gradient_cache=True)
        self._prepared = Prepared(folder=assignment.prepared)
        self._test = self._prepared.evaluation() if place.rank == 0 else None
        self._part = measured_part(self._prepared) if place.rank == 0 else None
        self._began, self._last = time.monotonic(), dict[str, Any]()
        self._is_trained = False

    def train(self, tell: Tell) -> None:
        """Train to the end, or until the run is asked to stop; `tell` takes the reports that are due."""
        from tempembed.evaluation.probe import Probe
        from tempembed.stages.contrastive import train_pairs
        from tempembed.tuning.selection import dev_probe, selection

        assignment, goal = self._assignment, self._settings.loop.goal
        output, probe_at = assignment.output, assignment.probe_at
        probe: Probe | None = None
        if self._place.rank == 0 and goal:
            probe = dev_probe(self._prepared, goal, assignment.budgets if probe_at else ())
        elif self._test and probe_at:
            probe = Probe(self._test, list(assignment.budgets))
        reports = Reports(assignment, self._place, tell)
        self._last = reports.last
        self._is_trained = train_pairs(
            self._settings, self._prepared, output, reports,
            resume=assignment.resume,
            probe=probe,
            probe_at=probe_at,
            selection=selection(self._settings),
            stop=(output / STOP).exists,
            say=reports.note,
            shard=self._workers.shard,
            device=None if self._workers.use_gpu else "cpu",  # Ray shows a process without a GPU all there are
        )  # fmt: skip

    def measure(self) -> None:
        """Measure the model on the test, if it is trained and there is one."""
        import torch

        from tempembed.evaluation.trained import evaluate_trained
        from tempembed.system.memory import peak_bytes

        if self._part is None or not self._is_trained:
            return
        seconds = self._seconds()
        cost = {
            "train_seconds": seconds,
            "pairs_per_second": self._last.get("train/pairs_per_second", 0.0),
            "peak_bytes": peak_bytes(),
        }
        # the other workers of this machine are done: their cores are free for the measurement
        torch.set_num_threads(max(torch.get_num_threads(), self._place.on_machine))
        prefix = "train/temperature/"
        temperatures = {
            key.removeprefix(prefix): value for key, value in self._last.items() if key.startswith(prefix)
        }
        evaluate_trained(
            self._assignment.output, self._part[0],
            budgets=self._assignment.budgets, cost=cost, temperatures=temperatures,
        )  # fmt: skip
        if "image" in self._prepared.modalities:
            self._show()
        self._judge()

    def _show(self) -> None:
        """A page of what is found, with pictures, beside the report."""
        from tempembed.encoders.load import load_encoder
        from tempembed.reports.retrievals import PAGE, write_retrievals_page
        from tempembed.tracking.spool import Spool

        assignment = self._assignment
        assert self._part is not None
        page = assignment.output / PAGE
        write_retrievals_page(load_encoder(str(assignment.output)), self._part[0], page)
        Spool(assignment.spool).file(assignment.run, page)

    def _judge(self) -> None:
        """The verdict, where the run began with a loaded model; the start is measured once for all runs that begin with it."""
        from tempembed.parallel.device import device_of_process
        from tempembed.stages.initial_encoder import initial_encoder
        from tempembed.tracking.jsonl import METRICS
        from tempembed.tracking.points import tell_verdict
        from tempembed.tracking.spool import Spool
        from tempembed.tuning.judge import judge, start_of

        assignment, settings = self._assignment, self._settings
        if settings.model.own_encoder or not settings.loop.verdict:
            return
        encoder = initial_encoder(settings, self._prepared).to(device_of_process())
        start = start_of(settings, self._prepared, encoder, lambda line: None, assignment.budgets)
        if start:
            output = assignment.output
            verdict = judge(
                settings, self._prepared, start, output, metrics=output / METRICS, budgets=assignment.budgets
            )
            tell_verdict(verdict, [Spool(assignment.spool)], assignment.run, output)

    def _seconds(self) -> float:
        """Seconds of the training; of one that an earlier process did, by its last report, which becomes the last of this one."""
        from tempembed.tracking.jsonl import METRICS, read_jsonl

        if not self._last and (reports := read_jsonl(self._assignment.output / METRICS)):
            self._last = reports[-1]
            rate = self._last.get("train/pairs_per_second") or math.inf
            return self._last["step"] * self._settings.batches.batch_size / rate
        return time.monotonic() - self._began
