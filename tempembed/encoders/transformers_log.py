"""What transformers says while it loads: kept, or not said."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as theirs


@contextmanager
def no_bars() -> Iterator[None]:
    """Loading and saving show no bars meanwhile: they take a moment, and a log file keeps every state of a bar."""
    had_bar = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if had_bar:
            theirs.enable_progress_bar()


@contextmanager
def silence() -> Iterator[None]:
    """No warnings and no bars meanwhile."""
    level = theirs.get_verbosity()
    theirs.set_verbosity_error()
    try:
        with no_bars():
            yield
    finally:
        theirs.set_verbosity(level)


@contextmanager
def warnings() -> Iterator[list[str]]:
    """The warnings that come meanwhile, whatever its verbosity is; no bars."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    keep, logger, level = Keep(logging.WARNING), theirs.get_logger(), theirs.get_verbosity()
    logger.addHandler(keep)
    theirs.set_verbosity(min(level, logging.WARNING))
    try:
        with no_bars():
            yield messages
    finally:
        logger.removeHandler(keep)
        theirs.set_verbosity(level)
