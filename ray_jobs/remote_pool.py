"""Ray's workers as a pool: a function runs wherever the cluster has a free CPU."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray


class RemotePool:
    """Tasks of one CPU; one whose worker dies is run again by Ray."""

    def __init__(self) -> None:
        self.num_workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._sent: tuple[Any, Any] = (None, None)

    def submit(self, function: Callable[[Any], Any], argument: Any, /) -> "Future[Any]":
        """Run it; a function that comes again is not sent again."""
        if self._sent[0] is not function:
            self._sent = (function, ray.put(function))
        future: Future[Any] = _call.remote(self._sent[1], argument).future()
        return future


@ray.remote(num_cpus=1)
def _call(function: Callable[..., Any], argument: Any) -> Any:
    return function(argument)
