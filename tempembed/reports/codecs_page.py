"""Bytes against score: the table, the recommendation and the page of one model's codecs."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempembed.codecs.spec import codec_family
from tempembed.evaluation.choice import Choice
from tempembed.evaluation.report import Report, ScoreRow
from tempembed.reports.figures import COLOURS, svg
from tempembed.reports.pages import write_page
from tempembed.reports.table import Table

Rows = Sequence[ScoreRow]


def budget_table(choices: Sequence[Choice]) -> Table:
    """The best codec of each budget."""
    head = ("bytes", "best codec", "score", "95 % interval", "kept", "95 % interval", "as good, by the data")
    return Table(head=head, rows=tuple(map(_cells, choices)), prose=frozenset({1, 6}))


def _cells(choice: Choice) -> tuple[str, ...]:
    best = choice.best
    others = ", ".join(row.spec for row in choice.equals[:2])
    more = f" and {len(choice.equals) - 2} more" if len(choice.equals) > 2 else ""
    return (
        str(choice.budget), best.spec, f"{best.score:.4f}", f"{best.ci_low:.4f} - {best.ci_high:.4f}",
        f"{best.retention:.3f}", f"{best.retention_ci_low:.3f} - {best.retention_ci_high:.3f}", others + more,
    )  # fmt: skip


def codec_text(choices: Sequence[Choice], rows: Rows) -> str:
    """The best codec of each budget, as text."""
    return f"{rows[0].task}, {rows[0].metric}, {len(rows)} codecs\n{budget_table(choices).text()}"


def other_tasks(rows: Rows, first: str) -> str:
    """What the winners keep on the tasks that did not decide; without their re-ranking, which needs a search."""
    names = list(dict.fromkeys(row.task for row in rows if row.task != first))
    specs = list(dict.fromkeys(row.spec for row in rows if row.task != first))
    lines = [f"{'kept on the other tasks':<32}" + "".join(f"{name:<28}" for name in names)]
    found = {(row.task, row.spec): row for row in rows}
    for spec in specs:
        cells = []
        for name in names:
            row = found.get((name, spec))
            cells.append(
                f"{row.retention:.3f} ({row.retention_ci_low:.3f} - {row.retention_ci_high:.3f})"
                if row and row.retention is not None
                else ""
            )
        lines.append(f"{spec:<32}" + "".join(f"{cell:<28}" for cell in cells))
    return "\n".join(lines)


def recommendation(choice: Choice) -> str:
    """One paragraph."""
    best = choice.best
    retention = best.retention or 0.0
    lost = 1 - retention
    verdict = f"you lose {lost:.1%}" if lost >= 0.0005 else "no loss was measured"
    text = (
        f"For {choice.budget} bytes: {best.spec} ({best.bytes_per_vector} bytes), {best.metric} {best.score:.4f}, "
        f"keeps {retention:.1%} of full float32 (95 % interval {best.retention_ci_low:.1%} to "
        f"{best.retention_ci_high:.1%}): {verdict}."
    )
    if (second := choice.runner_up) and choice.difference_ci:
        low, high = choice.difference_ci
        rival = "which the data cannot tell from it" if low <= 0 else "which is worse"
        text += (
            f" Runner-up {second.spec}, {rival} (difference {best.score - second.score:.4f}, "
            f"95 % interval {low:.4f} to {high:.4f})."
        )
    return text + " Intervals are over queries or samples; they do not cover the choice among codecs."


def write_codecs_page(report: Report, rows: Rows, front: Rows, choices: Sequence[Choice], path: Path) -> None:
    """One HTML file: the plot, the table of the budgets, and all codecs.

    Args:
        report: what was measured.
        rows: the scores of the task that decides.
        front: those of them that no other beats with as few bytes.
        choices: the best of each budget.
        path: the file.
    """
    listed = tuple(
        (row.spec, str(row.bytes_per_vector), f"{row.score:.4f}", f"{row.ci_low:.4f} - {row.ci_high:.4f}", f"{row.retention or 0:.3f}")
        for row in sorted(rows, key=lambda row: (row.bytes_per_vector, -row.score))
    )  # fmt: skip
    write_page(
        path, "codecs", row=rows[0], name=Path(report.model).name, num_codecs=len(rows), plot=_plot(rows, front),
        budgets=budget_table(choices),
        codecs=Table(head=("codec", "bytes", "score", "95 % interval", "kept"), rows=listed),
    )  # fmt: skip


def _plot(rows: Rows, front: Rows) -> Markup:
    families: dict[str, list[ScoreRow]] = {}
    for row in rows:
        families.setdefault(codec_family(row.spec), []).append(row)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            [row.bytes_per_vector for row in front], [row.score for row in front],
            color="#999999", linewidth=1, zorder=1, label="Pareto front",
        )  # fmt: skip
        for i, (family, chosen) in enumerate(families.items()):
            _family(axes, family, chosen, COLOURS[i % len(COLOURS)])
        low, high = axes.get_ylim()
        for row, after in zip(front, [*front[1:], None], strict=True):
            if after is None or after.score - row.score > 0.02 * (high - low):
                axes.annotate(
                    row.spec, (row.bytes_per_vector, row.score), (-4, 5), fontsize=7,
                    textcoords="offset points", ha="right",
                )  # fmt: skip
        sizes = [row.bytes_per_vector for row in rows]
        axes.set_xscale("log", base=2)
        axes.set_xlim(left=min(sizes) / 5)  # room for the labels
        ticks = [2**i for i in range(2, 15) if min(sizes) <= 2**i <= max(sizes)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("bytes per vector")
        axes.set_ylabel(rows[0].metric)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="lower right")

    return svg(draw, 9, 5.4)


def _family(axes: Axes, family: str, rows: Rows, colour: str) -> None:
    """The codecs of one colour, those that are re-ranked as triangles."""
    for reranked, marker in ((False, "o"), (True, "^")):
        part = [row for row in rows if ("+rerank" in row.spec) == reranked]
        if part:
            below = [max(0, row.score - row.ci_low) for row in part]
            above = [max(0, row.ci_high - row.score) for row in part]
            axes.errorbar(
                [row.bytes_per_vector for row in part], [row.score for row in part], yerr=[below, above], fmt=marker,
                color=colour, markersize=4, elinewidth=0.6, alpha=0.8,
                label=family + (", re-ranked" if reranked else ""),
            )  # fmt: skip
