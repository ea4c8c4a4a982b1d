"""Drives an encode on a cluster, from its data to its last shard."""

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ray_jobs.connect import temporary_folder
from ray_jobs.metrics import Sample, export
from ray_jobs.remote_pool import RemotePool, connect_for
from tempembed.commands.encode import encode
from tempembed.run.folder import hold
from tempembed.settings.places import output_place
from tempembed.system.disk import blamed_on_disk
from tempembed.system.in_order import in_order
from tempembed.tracking.settings import MLFLOW_URI

if TYPE_CHECKING:
    from ray_jobs.encode import RayEncode

SAMPLES = {"step": "step", "num_steps": "steps", "encode/documents_per_second": "documents_per_second"}
"""Metric of an encode to the gauge of the dashboard."""


def drive(command: "RayEncode") -> None:
    """Encode to the end.

    Raises:
        UserError: what `tempembed encode` raises, or no GPU.
    """
    output, tracking = (
        output_place("--output", command.output),
        command.tracking.resolved(os.environ.get(MLFLOW_URI)),
    )
    with hold(output, "encode"):
        connect_for(use_gpu=command.use_gpu)
        pool = RemotePool(use_gpu=command.use_gpu, max_failures=command.max_failures)
        with blamed_on_disk(output, temporary_folder()):
            encoded = encode(
                command, output, "cuda" if command.use_gpu else "cpu", partial(in_order, over=pool), tracking,
                partial(print, flush=True), partial(export_metrics, output.name),
            )  # fmt: skip
    print(encoded, flush=True)


def export_metrics(run: str, metrics: Mapping[str, Any]) -> None:
    """Export a report of an encode, or of other work whose steps are counted.

    Args:
        run: its name.
        metrics: of the report.
    """
    export([Sample(gauge, metrics[name]) for name, gauge in SAMPLES.items() if name in metrics], run=run)
