"""Drives the mining of hard negatives on a cluster, from pairs to the file with their negatives."""

import os
from functools import partial
from typing import TYPE_CHECKING

from ray_jobs.connect import temporary_folder
from ray_jobs.encode_driver import export_metrics
from ray_jobs.remote_pool import RemotePool, connect_for
from tempembed.commands.mine import new_file
from tempembed.commands.mine_pairs import Machine, mine_pairs
from tempembed.system.disk import blamed_on_disk
from tempembed.system.in_order import in_order
from tempembed.tracking.settings import MLFLOW_URI

if TYPE_CHECKING:
    from ray_jobs.mine import RayMine


def drive(command: "RayMine") -> None:
    """Mine to the end.

    Raises:
        UserError: what `tempembed mine` raises, or no GPU.
    """
    output, tracking = new_file(command.output), command.tracking.resolved(os.environ.get(MLFLOW_URI))
    connect_for(use_gpu=command.use_gpu)
    over, embed_over = (
        partial(in_order, over=RemotePool(use_gpu=use_gpu, max_failures=command.max_failures))
        for use_gpu in (False, command.use_gpu)
    )
    machine = Machine(over=over, embed_over=embed_over, device="cuda" if command.use_gpu else "cpu")
    with blamed_on_disk(output.parent, command.place, temporary_folder()):
        mined = mine_pairs(
            command,
            output,
            machine,
            tracking,
            partial(print, flush=True),
            partial(export_metrics, output.stem),
        )
    print(mined, flush=True)
    print(f"pairs with hard negatives: {output}", flush=True)
