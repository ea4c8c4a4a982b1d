"""Pre-train an encoder on raw text on Ray Train workers: stage 1; ray_jobs.train is stage 2.

ray job submit -- python -m ray_jobs.pretrain --text installed-text --num-workers 2 --output /shared/runs/base

A run is identified by its settings and its folder: run the same command again to resume, however the last one ended.
"""

from dataclasses import dataclass

from ray_jobs.on_ray import OnRay, command_line, start
from tempembed.commands.pretrain import PretrainRun
from tempembed.system.console import run


@dataclass(frozen=True, kw_only=True)
class RayPretrain(OnRay, PretrainRun):
    """Pre-train an encoder on N Ray Train workers. The same run as `tempembed pretrain`."""


def main() -> None:
    """Entry point. What drives is imported here, because each subprocess of a driver imports this file again."""
    command = command_line(RayPretrain, "ray_jobs.pretrain", __doc__)
    from ray_jobs.pretrain_driver import check_batch, differences_to, drive

    start(
        command,
        command.output,
        command.settings,
        drive,
        check_batch=check_batch,
        differences_to=differences_to,
    )


if __name__ == "__main__":
    run(main)
