"""Calls a function in a process of its own, whose memory goes with it."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tempembed.system.errors import InfrastructureError

Result = TypeVar("Result")


def in_subprocess(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call it in a process of its own: a driver lives as long as its sweep, and would keep the function's gigabytes that long.

    Args:
        function: a function of a module; it, its arguments and its result are pickled.
        arguments: for the function.

    Raises:
        InfrastructureError: that process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InfrastructureError(
                f"{function.__name__.strip('_')}: expected its process to end well, it was killed, perhaps for its memory; give the "
                "same command again, on a machine with more"
            ) from error


def _end_with_parent() -> None:
    """End this process when its parent ends: a driver that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()
