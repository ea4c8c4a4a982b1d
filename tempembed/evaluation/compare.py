"""Two measured models, paired: the same queries, the same resamples."""

from dataclasses import dataclass

from tempembed.evaluation.report import Bounds, Evaluation, Report, ScoreRow
from tempembed.evaluation.statistics import interval, ratio
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Second - first, of one codec on one task, with paired 95 % intervals."""

    first: ScoreRow
    second: ScoreRow
    """At the other model's full width, if the first is at its own."""
    ci: Bounds
    """Interval of the difference of the scores."""
    retention_ci: Bounds
    """Interval of the difference of the retentions."""

    @property
    def score(self) -> float:
        """The difference of the scores."""
        return self.second.score - self.first.score

    @property
    def retention(self) -> float:
        """The difference of the retentions."""
        return (self.second.retention or 0) - (self.first.retention or 0)


def paired_differences(first: Evaluation, second: Evaluation) -> list[Difference]:
    """Differences of each codec on each task that both have.

    Raises:
        UserError: they share no task, or tasks of one name hold different data.
    """
    a, b = first.report, second.report
    tasks = _shared_tasks(a, b)
    of_b = {_key(row, b): row for row in b.scores}
    full_a, full_b = ({row.task: row for row in report.scores if report.is_full(row)} for report in (a, b))
    found = []
    for row in a.scores:
        other = of_b.get(_key(row, a))
        if other is None or row.task not in tasks or row.task not in full_a or row.task not in full_b:
            continue
        one, two = first.of(row), second.of(other)
        kept_a, kept_b = ratio(one, first.of(full_a[row.task])), ratio(two, second.of(full_b[row.task]))
        found.append(
            Difference(
                first=row, second=other, ci=interval(two - one), retention_ci=interval(kept_b - kept_a)
            )
        )
    if not found:
        raise UserError(f"expected reports that share tasks and codecs, {a.model} and {b.model} share none")
    return found


def _shared_tasks(a: Report, b: Report) -> list[str]:
    """Tasks of both, whose data is the same."""
    tasks = [name for name in a.data.tasks if name in b.data.tasks]
    for name in tasks:
        prints = [report.data.tasks[name].fingerprint for report in (a, b)]
        if prints[0] != prints[1]:
            raise UserError(
                f"task {name}: expected the same queries, documents and answers in both reports, got fingerprints "
                f"{prints[0]} ({a.model}) and {prints[1]} ({b.model}); measure both on the same data"
            )
    return tasks


def _key(row: ScoreRow, report: Report) -> tuple[str, str, int]:
    """A row's task, codec and width; 0 for the full one."""
    return row.task, row.codec, 0 if row.dim == report.width else row.dim
