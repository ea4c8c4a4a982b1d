"""What transformers says while it loads: kept, or not said."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as theirs


@contextmanager
def silence() -> Iterator[None]:
    """No warnings and no bar meanwhile."""
    level, had_bar = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if had_bar:
            theirs.enable_progress_bar()


@contextmanager
def warnings() -> Iterator[list[str]]:
    """The warnings that come meanwhile, whatever its verbosity is."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    keep, logger, level = Keep(logging.WARNING), theirs.get_logger(), theirs.get_verbosity()
    logger.addHandler(keep)
    theirs.set_verbosity(min(level, logging.WARNING))
    try:
        yield messages
    finally:
        logger.removeHandler(keep)
        theirs.set_verbosity(level)
