"""Prepare the data of runs on all CPUs of a cluster, before the runs that find it.

ray job submit -- python -m ray_jobs.prepare --data pairs.parquet --encoder /models/minilm
"""

from dataclasses import dataclass, field

from ray_jobs.on_ray import command_line
from tempembed.settings.config import Configured
from tempembed.settings.places import with_places
from tempembed.settings.train import TrainSettings
from tempembed.system.cache import cache_dir
from tempembed.system.console import run
from tempembed.system.disk import blamed_on_disk
from tempembed.system.untrusted import check_place


@dataclass(frozen=True, kw_only=True)
class Prepare(Configured):
    """Read, check, split and tokenise pairs, as the run with these settings does before it starts.

    Run ray_jobs.train, ray_jobs.tune or tempembed train with the same data and encoder next: they find it in $TEMPEMBED_CACHE. What was
    interrupted goes on.
    """

    train: TrainSettings = field(default_factory=TrainSettings)


def main() -> None:
    """Entry point."""
    command = command_line(Prepare, "ray_jobs.prepare", __doc__)
    from ray_jobs.connect import connect, temporary_folder
    from ray_jobs.remote_pool import RemotePool
    from tempembed.stages.prepare import prepare_with_encoder

    check_place(cache_dir(), "$TEMPEMBED_CACHE")
    connect()
    with blamed_on_disk(cache_dir(), temporary_folder()):
        prepared, _ = prepare_with_encoder(
            with_places(command.train), lambda line: print(line, flush=True), pool=RemotePool()
        )
    print(f"{prepared.meta['num_pairs']:,} pairs in {prepared.folder}", flush=True)


if __name__ == "__main__":
    run(main)
