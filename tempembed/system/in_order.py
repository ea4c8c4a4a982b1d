"""A pure function over many inputs on several processes, the results in the inputs' order."""

import multiprocessing
import multiprocessing.process
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Protocol, TypeVar

from tempembed.system.errors import InfrastructureError

T = TypeVar("T")
R = TypeVar("R")


class Pool(Protocol):
    """What runs functions elsewhere, as an `Executor` does."""

    num_workers: int
    """How many it runs at a time."""

    def submit(self, function: Callable[[T], R], argument: T, /) -> Future[R]:
        """Run it."""


class Over(Protocol):
    """Calls a function on many inputs, on the processes of this machine or of a cluster."""

    def __call__(self, function: Callable[[T], R], inputs: Iterable[T]) -> Iterator[tuple[T, R]]:
        """(input, result) of each, in any order."""


def num_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[T], R], inputs: Iterable[T], over: int | Pool) -> Iterator[tuple[T, R]]:
    """(input, result) of each; at most two inputs a worker are held.

    Args:
        function: can be imported, so no lambda.
        inputs: read in this process, as results are taken.
        over: processes of this machine, 1 for this one; or a pool elsewhere.

    Raises:
        InfrastructureError: a process died, as one does where memory runs out.
    """
    if over == 1:
        for each in inputs:
            yield each, function(each)
        return
    waiting: deque[tuple[T, Future[R]]] = deque()
    own: AbstractContextManager[Pool] = Processes(over) if isinstance(over, int) else nullcontext(over)
    with own as running:
        try:
            for each in inputs:
                waiting.append((each, running.submit(function, each)))
                if len(waiting) >= 2 * running.num_workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as error:
            raise InfrastructureError(
                "one of the processes that do this died, as one does where memory runs out; give the same command again to go on"
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


class _Apart(SpawnProcess):
    """A process that does not run the user's script again, which may have no `if __name__ == "__main__"`."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        main = sys.modules["__main__"]
        names: dict[str, Any] = {
            name: vars(main).pop(name) for name in ("__spec__", "__file__") if name in vars(main)
        }
        main.__spec__ = None
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            main.__dict__.update(names)


class _Context(SpawnContext):
    Process = _Apart


class Processes(ProcessPoolExecutor):
    """So many processes of this machine, as a pool: each starts when it is needed, and keeps what it has loaded until the pool is left."""

    def __init__(self, num: int) -> None:
        # spawn: safe in a process that has threads
        super().__init__(num, mp_context=_Context(), initializer=_begin)
        self.num_workers = num


def _begin() -> None:
    """Each process has a CPU, so a tokenizer in it has one thread; it ends with the process that started it, even if that is killed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
