"""Ray's workers as a pool: a function runs wherever the cluster has a free CPU, or a free GPU.

Tasks and not Ray Data, whose blocks are cut by bytes and by how many workers there are, whose writes leave a file for each block and
a second one when they are retried, and which keeps nothing of a job whose driver dies. Here an input has a number, its result a place
of its own, and doing it twice does no harm. What a task has loaded stays in its process for the next.
"""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray

from ray_jobs.connect import connect
from tempembed.system.errors import InfrastructureError, UserError


class RemotePool:
    """Tasks of one CPU, or of one GPU; one whose worker dies is run again by Ray, up to `max_failures` times."""

    def __init__(self, *, use_gpu: bool = False, max_failures: int = 3) -> None:
        self.num_workers = max(1, int(ray.cluster_resources().get("GPU" if use_gpu else "CPU", 1)))
        self._call: Any = (_on_gpu if use_gpu else _on_cpu).options(max_retries=max_failures)
        self._sent: tuple[Any, Any] = (None, None)

    def submit(self, function: Callable[[Any], Any], argument: Any, /) -> "Future[Any]":
        """Run it; a function that comes again is not sent again.

        The future raises InfrastructureError where workers were lost too often, and an error of ours as it was raised.
        """
        if self._sent[0] is not function:
            self._sent = (function, ray.put(function))
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._call.remote(self._sent[1], argument).future().add_done_callback(
            lambda done: _pass_on(done, future)
        )
        return future


def cluster_pool() -> RemotePool | None:
    """A pool of all machines of the cluster; None on one machine, whose own processes start faster."""
    connect()
    return RemotePool() if len(ray.nodes()) > 1 else None


def connect_for(*, use_gpu: bool) -> None:
    """Connect to the cluster whose processes a driver is to use, and let `ray job stop` end the driver as Ctrl-C does.

    Raises:
        UserError: as `connect`, or no GPU where some are asked for.
    """
    connect()
    if use_gpu and not ray.cluster_resources().get("GPU"):
        raise UserError(
            "--use-gpu: expected a cluster with GPUs, got none; leave --use-gpu out, or add nodes"
        )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # Ray had its own


def _call(function: Callable[..., Any], argument: Any) -> Any:
    return function(argument)


_on_cpu: Any = ray.remote(num_cpus=1)(_call)
# without max_calls a process with a GPU ends after each task, and forgets its model
_on_gpu: Any = ray.remote(num_cpus=1, num_gpus=1, max_calls=0)(_call)


def _pass_on(done: "Future[Any]", future: "Future[Any]") -> None:
    error = done.exception()
    if error is None:
        future.set_result(done.result())
        return
    if isinstance(cause := getattr(error, "cause", None), UserError):
        error = cause
    elif isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError):
        error = InfrastructureError(
            f"a process of the cluster, or its machine, was lost too often ({type(error).__name__}); the dashboard has its log; give the "
            "same command again to go on"
        )
    future.set_exception(error)
