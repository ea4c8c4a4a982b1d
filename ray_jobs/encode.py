"""Encode a corpus on the processes of a cluster: the same shards as `tempembed encode`, byte for byte.

ray job submit -- python -m ray_jobs.encode model-128 --data /shared/corpus --output /shared/encoded

An encode is its settings and its folder: run the same command again to go on, however the last one ended.
"""

from dataclasses import dataclass, field
from typing import Annotated

from ray_jobs.on_ray import command_line
from tempembed.commands.encode import EncodeRun
from tempembed.settings.flat import NotNegative
from tempembed.system.console import run
from tempembed.tracking.settings import TrackingSettings


@dataclass(frozen=True, kw_only=True)
class RayEncode(EncodeRun):
    """Encode on all CPUs, or all GPUs, of a Ray cluster."""

    use_gpu: bool = False
    """On GPUs, a process for each; else on CPUs."""
    max_failures: Annotated[int, NotNegative] = 3
    """Times that a shard is begun again after its process or its machine was lost."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


def main() -> None:
    """Entry point. What drives is imported here, because each process of the cluster imports this file again."""
    command = command_line(RayEncode, "ray_jobs.encode", __doc__)
    from ray_jobs.encode_driver import drive

    drive(command)


if __name__ == "__main__":
    run(main)
