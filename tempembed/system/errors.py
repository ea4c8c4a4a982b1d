"""The one error that a user can cause, and so the one that the command line prints without a traceback."""

LONGEST = 4000


class UserError(ValueError):
    """Bad input or settings. The message says what was expected, what was found, and what to do.

    A message that quotes too much of the input loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= LONGEST else f"{message[:2000]} […] {message[-1000:]}")


class SilentRankError(RuntimeError):
    """A worker does not answer the others; the message names it."""


class InfrastructureError(UserError):
    """A process, a machine, the network or the room on a disk is gone, through no fault of the run's: the same again may do."""
