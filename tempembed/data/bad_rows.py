"""Bad rows: raised at once, or counted by reason."""

from collections import Counter
from collections.abc import Iterable

from tempembed.system.errors import UserError

_SKIP_HINT = ", or pass --skip-bad-rows to leave such rows out"


class BadRow(Exception):
    """A row that cannot be kept, and why."""

    def __init__(
        self, reason: str, expected: str, found: str, todo: str, *, column: str | None = None
    ) -> None:
        self.reason = f"{reason} in {column}" if column else reason
        self.column = column
        self.message = f"expected {expected}, got {found}: {todo}"

    def at(self, place: object, row: int, line: int) -> str:
        """The message with where it is: a file, a row, a line (0: the file has no lines), and the column."""
        where = f" (line {line})" if line else ""
        column = f", column {self.column!r}" if self.column else ""
        return f"{place}, row {row}{where}{column}: {self.message}"


class Faults:
    """Bad rows of all files, raised at once or counted by reason, and notes that are no faults."""

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.reasons: Counter[str] = Counter()
        self.first: str | None = None
        self.unread: dict[str, None] = {}
        """Columns that are not read, in their order."""
        self.right_negatives = 0
        """How many hard negatives were also a right answer of their own row."""

    def add(self, bad: BadRow, name: str, row: int, line: int) -> None:
        """Count a bad row of the file `name`, or raise; line 0 means that the file has no lines."""
        self.report(bad.at(name, row, line), bad.reason, bad)

    def report(self, message: str, reason: str, cause: Exception | None = None) -> None:
        """Count one row as left out, or raise."""
        if not self.skip:
            raise UserError(message + _SKIP_HINT) from cause
        self.first = self.first or message
        self.reasons[reason] += 1

    def not_read(self, names: Iterable[str]) -> None:
        """Remember columns that are not read."""
        self.unread.update(dict.fromkeys(names))
