"""What our jobs export to Prometheus: `ray_tempembed_*`, on the metrics port of the node that a job's process runs on.

Ray passes a gauge on once, within 10 s of its being set, and drops it 20 s later; a value is therefore set again
and again, as long as the process lives. Counters stay, and a process that ends in order passes on its last values.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from ray.train.v2.api.callback import UserCallback
from ray.util.metrics import Counter, Gauge

from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.evaluation.report import Report
from tempembed.tracking.courier import Courier
from tempembed.tuning.goals import best_row

EVERY = 5.0
"""Seconds between two settings of a gauge: each time that Ray passes values on, it has one."""
GAUGES = {
    "step": "Optimiser steps that are done",
    "steps": "Optimiser steps of the whole run",
    "loss": "The objective, in nats",
    "term_loss": "Loss of a term, unweighted, in nats",
    "temperature": "Temperature of a term",
    "intrinsic_dimension": "PCA-95 of the training documents of the last window",
    "measured_intrinsic_dimension": "PCA-95 of the test documents of a finished model",
    "retention": "What the best codec within so many bytes keeps of the full score",
    "score": "nDCG@10 of the best codec within so many bytes",
    "pairs_per_second": "Pairs trained a second since the start or the last restart",
    "documents_per_second": "Documents encoded a second since the start or the last restart",
    "phase_seconds": "Seconds a step, by phase, on the host's clock",
    "gradient_norm": "Before clipping",
    "report_time": "When the newest report came, in seconds since 1970",
    "report_interval": "Seconds between the two newest reports; of the first, since the job made the run",
    "spool_depth": "Records that wait on disk to reach MLflow",
    "trials": "Trials of a sweep, by status",
}
COUNTERS = {
    "worker_errors": "Errors of workers, by type",
    "restarts": "Times that a run went on after an error",
}
PLAIN = {
    "step": "step",
    "num_steps": "steps",
    "train/loss": "loss",
    "train/intrinsic_dimension": "intrinsic_dimension",
    "train/pairs_per_second": "pairs_per_second",
    "train/grad_norm": "gradient_norm",
}
LABELLED = {
    "train/loss/": ("term_loss", "term"),
    "train/temperature/": ("temperature", "term"),
    "time/": ("phase_seconds", "phase"),
}


class Sample(NamedTuple):
    """One value of a gauge."""

    name: str
    value: float
    tags: Mapping[str, str] = {}


def report_samples(metrics: Mapping[str, Any]) -> Iterator[Sample]:
    """The samples of a report of the training loop."""
    for term, temperature in metrics.get("temperatures", {}).items():
        yield Sample("temperature", temperature, {"term": term})
    for key, value in metrics.items():
        if key in PLAIN:
            yield Sample(PLAIN[key], value)
        for prefix, (name, tag) in LABELLED.items():
            if key.startswith(prefix):
                yield Sample(name, value, {tag: key.removeprefix(prefix)})


def evaluation_samples(report: Report) -> Iterator[Sample]:
    """The samples of a finished model's report."""
    if "pca95" in report.geometry:
        yield Sample("measured_intrinsic_dimension", report.geometry["pca95"])
    for budget in ALIAS_BUDGETS:
        row = best_row(report, f"bytes-{budget}")
        if row and row.retention is not None:
            yield Sample("retention", row.retention, {"bytes": str(budget)})
            yield Sample("score", row.score, {"bytes": str(budget)})


def export(found: Iterable[Sample], *, run: str = "", sweep: str = "") -> None:
    """Set gauges of this process, tagged with their run and sweep, for as long as it lives."""
    with _lock:
        for name, value, tags in found:
            everything = {"run": run, "sweep": sweep, **tags}
            gauge = _gauge(name, tuple(everything))
            gauge.set(value, everything)
            _exported[name, tuple(everything.values())] = gauge, value, everything
    _keep_exporting()


_lock = threading.Lock()
_exported: dict[tuple[str, tuple[str, ...]], tuple[Gauge, float, dict[str, str]]] = {}


@cache
def _keep_exporting() -> None:
    def again() -> None:
        while True:
            time.sleep(EVERY)
            with _lock:
                for gauge, value, tags in _exported.values():
                    gauge.set(value, tags)

    threading.Thread(target=again, daemon=True, name="metrics").start()


def export_backlog(courier: Courier | None, *, run: str = "", sweep: str = "") -> None:
    """Export the delivery backlog of a courier, if there is one, as long as it is at work."""

    def keep_exporting() -> None:
        while courier and courier.is_alive():
            export([Sample("spool_depth", courier.depth)], run=run, sweep=sweep)
            courier.join(EVERY)

    threading.Thread(target=keep_exporting, daemon=True, name="depth").start()


@cache
def _gauge(name: str, tags: tuple[str, ...]) -> Gauge:
    return Gauge(f"tempembed_{name}", GAUGES[name], tags)


@cache
def _counter(name: str, tags: tuple[str, ...]) -> Counter:
    return Counter(f"tempembed_{name}", COUNTERS[name], tags)


class RunMetrics(UserCallback):
    """Exports rank 0's reports, and counts errors and restarts, in the controller of a run."""

    def __init__(self, *, run: str, sweep: str = "") -> None:
        self._tags = {"run": run, "sweep": sweep}
        self._reported, self._failed = time.time(), False

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """A report of all ranks."""
        now = time.time()
        found = [*report_samples(metrics[0])]
        found += [Sample("report_time", now), Sample("report_interval", now - self._reported)]
        export(found, **self._tags)
        if self._failed:
            _counter("restarts", tuple(self._tags)).inc(tags=self._tags)
        self._reported, self._failed = now, False

    def forget(self) -> None:
        """Export the run's gauges no more: it has ended, and this process has others."""
        with _lock:
            for key in [key for key, (_, _, tags) in _exported.items() if tags.items() >= self._tags.items()]:
                del _exported[key]

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Workers failed; Train starts them again, or gives up."""
        self._failed = True
        causes = {getattr(error, "_base_exc", error) for error in worker_exceptions.values()}
        for cause in sorted({type(cause).__name__ for cause in causes}):
            tags = {**self._tags, "error": cause}
            _counter("worker_errors", tuple(tags)).inc(tags=tags)
