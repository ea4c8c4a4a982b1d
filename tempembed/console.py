"""What a command says to a person."""

import sys
from collections.abc import Callable
from typing import Any

from tempembed.errors import UserError


def say(line: str) -> None:
    """A line of progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def progress_line(metrics: dict[str, Any]) -> str:
    """One line a person can follow."""
    return (
        f"step {metrics['step']}/{metrics['num_steps']}  loss {metrics['train/loss']:.4f}  "
        f"{metrics['train/pairs_per_second']:,.0f} pairs/s  {metrics['train/seconds_left']:.0f} s left"
    )


def run(function: Callable[[], None]) -> None:
    """Call it; print a user's error without a traceback and exit with 2."""
    try:
        function()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
