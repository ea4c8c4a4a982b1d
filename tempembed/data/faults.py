"""What is wrong with a row, raised at once or counted."""

from collections import Counter

from tempembed.errors import UserError

_SKIP_HINT = ", or pass --skip-bad-rows to leave such rows out"


class BadRow(Exception):
    """Why a row cannot be kept."""

    def __init__(
        self, reason: str, expected: str, found: str, todo: str, *, column: str | None = None
    ) -> None:
        self.reason = f"{reason} in {column}" if column else reason
        self.column = column
        self.message = f"expected {expected}, got {found}: {todo}"


class Faults:
    """Bad rows of all files: raised at once, or counted by reason."""

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.reasons: Counter[str] = Counter()
        self.first: str | None = None

    def add(self, bad: BadRow, name: str, row: int, line: int) -> None:
        """Count a bad row of the file `name`, or raise; line 0: it has no lines."""
        place = (
            f"row {row}"
            + (f" (line {line})" if line else "")
            + (f", column {bad.column!r}" if bad.column else "")
        )
        message = f"{name}, {place}: {bad.message}"
        if not self.skip:
            raise UserError(message + _SKIP_HINT) from bad
        self.first = self.first or message
        self.reasons[bad.reason] += 1
