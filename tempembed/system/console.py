"""How commands talk to the person who started them: progress, errors, interrupts."""

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from tempembed.system.disk import is_full
from tempembed.system.errors import UserError

_quiet = ContextVar("quiet", default=False)
RATE = re.compile(r"train/[a-z]+_per_second")
"""The metric of a report that says how fast a run is; what is counted is its stage's unit."""
_bars: list[Any] = []
"""Those on the screen, the newest last."""


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Say nothing of the progress inside, if `quiet`; errors are raised all the same."""
    token = _quiet.set(quiet or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(token)


def say(line: str) -> None:
    """Print a line of progress on standard error, above a bar that is there; a closed pipe is ignored, so that the work goes on."""
    if _quiet.get():
        return
    try:
        if _bars:
            _bars[-1].write(line, file=None if in_notebook() else sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
    except OSError:
        pass


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def draws_bars() -> bool:
    """Whether progress is a bar: in a terminal or a notebook. A log file gets lines."""
    return in_notebook() or sys.stderr.isatty()


def progress_line(metrics: dict[str, Any]) -> str:
    """The progress of a run as one line."""
    return (
        f"step {metrics['step']}/{metrics['num_steps']}  loss {metrics['train/loss']:.4f}  "
        f"{_rate(metrics)}  {metrics['train/seconds_left']:.0f} s left"
    )


def _rate(metrics: dict[str, Any]) -> str:
    """How fast a run is, in the unit of its stage: 1,200 pairs/s."""
    [(name, value)] = [each for each in metrics.items() if RATE.fullmatch(each[0])]
    return f"{value:,.0f} {name.removeprefix('train/').removesuffix('_per_second')}/s"


class Progress:
    """Progress of work that is counted: how much is done, how fast, how long is left.

    A bar where `say` is that of this module and a terminal or a notebook draws it; else a line in some seconds, the fewer the longer
    it takes.

    Args:
        done: what is done with each, for the lines: embedded.
        what: is counted, plural.
        total: how many there are.
        say: takes the lines.
    """

    EVERY = 5.0
    SHARE = 0.05
    """Lines are at least this share of the time so far apart."""

    def __init__(self, done: str, what: str, total: int, say: Callable[[str], None]) -> None:
        self._words, self._total, self._say = (done, what), total, say
        self._num, self._began = 0, time.monotonic()
        self._said = self._began
        self.is_bar: bool = is_ours(say) and total > 0 and not _quiet.get() and draws_bars()
        self._bar: Any = None

    def add(self, num: int, line: str = "") -> None:
        """So many more are done.

        Args:
            num: how many.
            line: in place of the line that would be said; behind the bar what it says of the work.
        """
        self._num += num
        if self.is_bar:
            self._draw(num, line)
            return
        now = time.monotonic()
        if now - self._said < max(self.EVERY, self.SHARE * (now - self._began)):
            return
        self._said, rate = now, self._num / (now - self._began)
        done, what = self._words
        left = (self._total - self._num) / rate
        self._say(
            line or f"{done} {self._num:,} of {self._total:,} {what}, {rate:,.0f} a second, {left:.0f} s left"
        )

    def close(self) -> None:
        """No more will be done; takes the bar away."""
        if self._bar is not None:
            _bars.remove(self._bar)
            self._bar.close()
            self._bar = None

    def _draw(self, num: int, line: str) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            done, what = self._words
            self._bar = tqdm(total=self._total, desc=done, unit=f" {what}", leave=False, dynamic_ncols=True)
            _bars.append(self._bar)
        if line:
            self._bar.set_postfix_str(line, refresh=False)
        self._bar.update(num)
        if self._num >= self._total:
            self.close()


class StepProgress:
    """Progress of a training run, from the metrics of its reports: a bar, or the first line, the last, and one in some seconds."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._done = 0

    def __call__(self, metrics: dict[str, Any]) -> None:
        """A report."""
        step, total = metrics["step"], metrics["num_steps"]
        is_last = step >= total or bool(metrics.get("stopping"))
        is_first = self._progress is None
        progress = self._progress = self._progress or Progress("training", "steps", total, say)
        if progress.is_bar:
            progress.add(step - self._done, f"loss {metrics['train/loss']:.4f}, {_rate(metrics)}")
        elif not (is_first or is_last):
            progress.add(step - self._done, progress_line(metrics))
        self._done = step
        if is_last:
            progress.close()
        if is_last or (is_first and not progress.is_bar):
            say(progress_line(metrics))


def is_ours(say_: Callable[[str], None]) -> bool:
    """Whether lines go to the person who started this, and not to a log."""
    return say_ is say


@contextmanager
def first_signal(line: str, then: Callable[[], None] | None = None) -> Iterator[Callable[[], int | None]]:
    """Let the first Ctrl-C or SIGTERM print `line` and call `then`; a second one ends the process.

    Yields:
        A function that returns the number of the signal that arrived, or None.
    """
    came: list[int] = []

    def caught(number: int, frame: FrameType | None) -> None:
        if came:
            os._exit(128 + number)
        came.append(number)
        os.write(2, f"{line}\n".encode())  # a print may be what it interrupted
        if then:
            then()

    # signals come to the main thread alone, and only it may say what they do
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, caught) for number in numbers}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(function: Callable[[], None]) -> None:
    """Call a command's function; exit with 2 after a user's error and with 130 after Ctrl-C, without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may have ASCII only
    try:
        try:
            function()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if (answer := _answer(error)) is None:
            raise
        say(f"error: {answer}")
        sys.exit(2)


def _answer(error: Exception) -> str | None:
    """The message for an error that the machine caused, not our code; None for others."""
    if is_full(error):
        return f"the disk is full ({_last_line(error)}); make room, and give the same command again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error}; check the path, and who may write there"
    if _is_out_of_memory(error):
        return (
            f"the memory is full ({_last_line(error)}); lower --width, --batch-size or --micro-batch-tokens, add --gradient-cache, or take a "
            "larger machine"
        )
    return None


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no more to be had"])[-1][-300:]


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, in Python, numpy, on a GPU, or in torch on the CPU, which has no class for it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )
