"""Drives an encode on a cluster, from its data to its last shard."""

import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from ray_jobs.connect import connect, temporary_folder
from ray_jobs.metrics import Sample, export
from ray_jobs.remote_pool import RemotePool
from tempembed.commands.encode import encode
from tempembed.run.folder import hold
from tempembed.settings.places import output_place
from tempembed.system.disk import blamed_on_disk
from tempembed.system.errors import UserError
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
        connect()
        if command.use_gpu and not ray.cluster_resources().get("GPU"):
            raise UserError(
                "--use-gpu: expected a cluster with GPUs, got none; leave --use-gpu out, or add nodes"
            )
        signal.signal(
            signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
        )  # ray job stop; Ray had its own
        pool = RemotePool(use_gpu=command.use_gpu, max_failures=command.max_failures)
        with blamed_on_disk(output, temporary_folder()):
            encoded = encode(
                command, output, "cuda" if command.use_gpu else "cpu", partial(in_order, over=pool), tracking,
                partial(print, flush=True), partial(_export, output.name),
            )  # fmt: skip
    print(encoded, flush=True)


def _export(run: str, metrics: Mapping[str, Any]) -> None:
    export([Sample(gauge, metrics[name]) for name, gauge in SAMPLES.items()], run=run)
