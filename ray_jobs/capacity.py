"""How many workers of which size a run has, and whether the cluster has room for them."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tempembed.settings.flat import flag
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import InfrastructureError, UserError

SAY_SECONDS = 60.0
"""Seconds between two lines of a run that waits for room."""
SHRUNK_SECONDS = 180.0
"""How long a run waits for nodes that are gone."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The Ray Train workers of a run."""

    num_workers: int = 2
    """Workers; each takes batch-size / num-workers rows, and all rows of the batch are negatives."""
    min_workers: int | None = None
    """Continue with as few when nodes are lost, and with all when they are back; the batch, and so the number of negatives,
    stays: fewer workers compute it through gradient caching. Default: num-workers, a run waits for all."""
    resize_seconds: int = 60
    """With --min-workers: seconds between two looks whether lost nodes are back."""
    cpus_per_worker: float = 1
    """CPUs of a worker."""
    use_gpu: bool = False
    """One GPU for each worker."""
    shard: bool = False
    """Keep a part of a transformer's weights, gradients and optimiser state on each worker (FSDP2), for models that fit on none."""
    max_failures: int = 2
    """Restarts after a worker died, from the newest checkpoint."""
    collective_timeout: int = 300
    """Seconds until a worker that does not answer the others is an error that names it."""

    def __post_init__(self) -> None:
        check_cpus(self.cpus_per_worker)
        check_least(self, num_workers=1, resize_seconds=1, max_failures=0, collective_timeout=1)
        if self.shard and self.least < 2:
            raise UserError(
                f"--shard: expected at least 2 workers, which hold a part each, got {self.least}; add workers, or leave --shard out"
            )
        if self.least > self.num_workers:
            raise UserError(
                f"--min-workers {self.least}: expected at most --num-workers {self.num_workers}; lower it"
            )

    @property
    def least(self) -> int:
        """The number of workers that a run needs to start."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def resources(self) -> dict[str, float]:
        """Ray's resources of one worker."""
        return {"CPU": self.cpus_per_worker, **({"GPU": 1.0} if self.use_gpu else {})}


def check_least(flags: Any, **least: int) -> None:
    """Raise UserError unless each of these flags is at least that."""
    for name, bound in least.items():
        if getattr(flags, name) < bound:
            raise UserError(f"{flag(name)}: expected >= {bound}, got {getattr(flags, name)}")


def check_cpus(cpus_per_worker: float) -> None:
    """Raise UserError unless a worker takes some CPU: one that takes none would run beside any number of others."""
    if not 0 < cpus_per_worker < math.inf:
        raise UserError(f"--cpus-per-worker: expected > 0, got {cpus_per_worker}")


def check_batch(settings: TrainSettings, num_workers: int) -> None:
    """Raise UserError unless the global batch divides over the workers; called before anything starts."""
    if num_workers < 1 or settings.batches.batch_size % num_workers:
        raise UserError(
            f"--batch-size {settings.batches.batch_size}: expected a multiple of --num-workers {num_workers} (at least 1), "
            "so that each worker takes the same number of rows"
        )


def check_capacity(workers: Workers) -> int:
    """How many runs of this size the cluster holds at once.

    Raises:
        UserError: it holds none; the message has the arithmetic. (Ray itself would wait for ever.)
    """
    nodes = live_nodes()
    if (runs := count_places(nodes, workers) // workers.least) == 0:
        raise UserError(
            f"expected a cluster that holds one run, got {_arithmetic(nodes, workers)}; lower "
            "--num-workers or --cpus-per-worker, or add nodes"
        )
    return runs


def has_capacity(workers: Workers) -> bool:
    """Whether the cluster holds a run of this size, whoever uses it now."""
    return count_places(live_nodes(), workers) >= workers.least


def await_room(workers: Workers, stop: Callable[[], object]) -> bool:
    """Wait until other runs have left room for one of this size, and say so. Ray Train would give up after a minute.

    Args:
        workers: the run's.
        stop: whether to stop waiting.

    Returns:
        False if it stopped before there was room.

    Raises:
        InfrastructureError: the cluster has shrunk, and the nodes do not come back.
    """
    from ray._private.state import available_resources_per_node

    said, enough = -math.inf, time.monotonic()
    while count_places(free := list(available_resources_per_node().values()), workers) < workers.least:
        if stop():
            return False
        now, nodes = time.monotonic(), live_nodes()
        is_held = count_places(nodes, workers) >= workers.least
        enough = now if is_held else enough
        if now - enough > SHRUNK_SECONDS:
            raise InfrastructureError(
                f"expected the nodes to come back within {SHRUNK_SECONDS:.0f} s, got {_arithmetic(nodes, workers)}"
            )
        if now - said > SAY_SECONDS:
            said = now
            sums = "; ".join(
                f"{name}: {amount * workers.least:g} needed, {sum(node.get(name, 0) for node in free):g} free"
                for name, amount in workers.resources.items()
            )
            print(f"waiting for {'others to end' if is_held else 'nodes to come back'} ({sums})", flush=True)
        time.sleep(0.5)
    return not stop()


def live_nodes() -> list[Mapping[str, float]]:
    """The resources of each live node."""
    import ray  # here, because the flags of every command are made from this file

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def count_places(nodes: Sequence[Mapping[str, float]], workers: Workers) -> int:
    """How many workers of this size nodes with these resources hold: no worker stands on two nodes."""
    return sum(
        min(int(node.get(name, 0) / amount + 1e-6) for name, amount in workers.resources.items())
        for node in nodes
    )


def _arithmetic(nodes: Sequence[Mapping[str, float]], workers: Workers) -> str:
    """What a run needs, and what the nodes have."""
    num = workers.least
    return "; ".join(
        f"{name}: {num} workers x {amount:g} = {amount * num:g} needed, {sum(node.get(name, 0) for node in nodes):g} in the "
        f"cluster, at most {max((node.get(name, 0) for node in nodes), default=0):g} on a node"
        for name, amount in workers.resources.items()
    )
