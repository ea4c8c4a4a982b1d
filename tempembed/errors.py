"""The one error that a user can cause, and so the one that the command line prints without a traceback."""


class UserError(ValueError):
    """Bad input or settings. The message says what was expected, what was found, and what to do."""


class SilentRankError(RuntimeError):
    """A worker does not answer the others; the message names it."""
