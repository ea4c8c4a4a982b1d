"""Mine hard negatives on the processes of a cluster: the same negatives as `tempembed mine`.

ray job submit -- python -m ray_jobs.mine /shared/model --data /shared/pairs.parquet --output /shared/mined.parquet

What is done is kept in --cache: run the same command again to go on, however the last one ended.
"""

from dataclasses import dataclass, field
from typing import Annotated

from ray_jobs.on_ray import command_line
from tempembed.commands.mine import MineRun
from tempembed.settings.flat import NotNegative
from tempembed.system.console import run
from tempembed.tracking.settings import TrackingSettings


@dataclass(frozen=True, kw_only=True)
class RayMine(MineRun):
    """Mine on all CPUs of a Ray cluster; model, data, --output and --cache (or $TEMPEMBED_CACHE) lie where all nodes see them."""

    use_gpu: bool = False
    """Embed, and judge with a cross-encoder, on GPUs, a process for each. The search takes CPUs."""
    max_failures: Annotated[int, NotNegative] = 3
    """Times that a task is begun again after its process or its machine was lost."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


def main() -> None:
    """Entry point. What drives is imported here, because each process of the cluster imports this file again."""
    command = command_line(RayMine, "ray_jobs.mine", __doc__)
    from ray_jobs.mine_driver import drive

    drive(command)


if __name__ == "__main__":
    run(main)
