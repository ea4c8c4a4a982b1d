"""Which codec for a number of bytes: pure functions of a report's rows and replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.sets import BUDGETS
from tempembed.evaluation.report import ScoreRow, least_bytes
from tempembed.evaluation.statistics import interval
from tempembed.system.errors import UserError


@dataclass(frozen=True)
class Choice:
    """The best codec within a budget, and those that the data cannot tell from it."""

    budget: int
    best: ScoreRow
    runner_up: ScoreRow | None
    difference_ci: tuple[float, float] | None
    """95 % interval of best - runner-up, paired."""
    equals: list[ScoreRow]
    """Codecs whose paired interval of the difference to the best holds zero, best first."""


def choose(rows: Sequence[ScoreRow], replicates: Mapping[str, Float[Tensor, " R"]], budget: int) -> Choice:
    """The codec of highest score among those of at most `budget` bytes a vector, all that is stored counted.

    Args:
        rows: of one task.
        replicates: by `task|spec`.
        budget: bytes.

    Raises:
        UserError: no codec is that small, or the model scores nothing even in full.
    """
    able = sorted(
        (row for row in rows if row.bytes_per_vector <= budget),
        key=lambda row: (-row.score, row.bytes_per_vector),
    )
    if not able:
        least = least_bytes(rows)
        raise UserError(
            f"--bytes {budget}: expected a budget of at least {least} bytes, the smallest codec that was measured"
        )
    best = able[0]
    if best.retention is None:
        raise UserError(
            f"task {best.task}: expected a score above 0 in full float32, of which a codec could keep a share, got none: "
            "train the model further, or let another task decide"
        )

    def difference(row: ScoreRow) -> tuple[float, float]:
        return interval(replicates[best.key] - replicates[row.key])

    return Choice(
        budget, best, able[1] if len(able) > 1 else None, difference(able[1]) if len(able) > 1 else None,
        [row for row in able[1:] if difference(row)[0] <= 0],
    )  # fmt: skip


def choices(
    rows: Sequence[ScoreRow], replicates: Mapping[str, Tensor], budgets: Sequence[int] = BUDGETS
) -> list[Choice]:
    """The choice at each budget that some codec meets."""
    least = least_bytes(rows)
    return [choose(rows, replicates, budget) for budget in budgets if budget >= least]


def pareto(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Codecs that no other beats with as few bytes, smallest first."""
    found: list[ScoreRow] = []
    for row in sorted(rows, key=lambda row: (row.bytes_per_vector, -row.score)):
        if not found or row.score > found[-1].score:
            found.append(row)
    return found
