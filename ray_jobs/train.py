"""Train one encoder on Ray Train workers.

ray job submit -- python -m ray_jobs.train --objective tempaggmrl --num-workers 2 --output /shared/runs/one

A run is identified by its settings and its folder: run the same command again to resume, however the last one ended.
"""

from dataclasses import dataclass

from ray_jobs.on_ray import OnRay, command_line, start
from tempembed.commands.train import Run
from tempembed.system.console import run


@dataclass(frozen=True, kw_only=True)
class RayTrain(OnRay, Run):
    """Train an encoder on N Ray Train workers. The same run as `tempembed train`."""


def main() -> None:
    """Entry point. What drives is imported here, because each subprocess of a driver imports this file again."""
    command = command_line(RayTrain, "ray_jobs.train", __doc__)
    from ray_jobs.capacity import check_batch
    from ray_jobs.run_driver import differences_to, drive

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
