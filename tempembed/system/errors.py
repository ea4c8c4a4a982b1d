"""The one error that a user can cause, and so the one that the command line prints without a traceback."""

LONGEST = 4000
"""Characters of a message."""


class UserError(ValueError):
    """Bad input or settings. The message says what was expected, what was found, and what to do.

    The middle of a message that is too long is cut out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= LONGEST else f"{message[:2000]} […] {message[-1000:]}")


class SilentRankError(RuntimeError):
    """A worker does not answer the others; the message names it."""


class InfrastructureError(UserError):
    """Infrastructure failed: a process, a machine, the network or disk space is gone. Retrying may succeed."""
