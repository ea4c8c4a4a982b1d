"""Bytes against score: the table, the recommendation and the plot of one model's codecs."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from tempembed.reports.figures import COLOURS, svg
from tempembed.reports.style import STYLE

if TYPE_CHECKING:
    from tempembed.evaluation.choice import Choice

Rows = Sequence[dict[str, Any]]
HEAD = ("bytes", "best codec", "score", "95 % interval", "kept", "95 % interval", "as good, by the data")


def _cells(choice: "Choice") -> list[str]:
    best = choice.best
    others = ", ".join(row["spec"] for row in choice.equals[:2])
    more = f" and {len(choice.equals) - 2} more" if len(choice.equals) > 2 else ""
    return [
        str(choice.budget), best["spec"], f"{best['score']:.4f}", f"{best['ci_low']:.4f} - {best['ci_high']:.4f}",
        f"{best['retention']:.3f}", f"{best['retention_ci_low']:.3f} - {best['retention_ci_high']:.3f}", others + more,
    ]  # fmt: skip


def codec_table(choices: Sequence["Choice"], rows: Rows) -> str:
    """The best codec of each budget, as text."""
    lines = [list(HEAD), *map(_cells, choices)]
    sizes = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    title = f"{rows[0]['task']}, {rows[0]['metric']}, {len(rows)} codecs"
    return "\n".join(
        [title, *("  ".join(c.ljust(n) for c, n in zip(line, sizes, strict=True)).rstrip() for line in lines)]
    )


def other_tasks(rows: Rows, first: str) -> str:
    """What the winners keep on the tasks that did not decide; without their re-ranking, which needs a search."""
    names = list(dict.fromkeys(row["task"] for row in rows if row["task"] != first))
    specs = list(dict.fromkeys(row["spec"] for row in rows if row["task"] != first))
    lines = [f"{'kept on the other tasks':<32}" + "".join(f"{name:<28}" for name in names)]
    found = {(row["task"], row["spec"]): row for row in rows}
    for spec in specs:
        cells = []
        for name in names:
            row = found.get((name, spec))
            cells.append(
                f"{row['retention']:.3f} ({row['retention_ci_low']:.3f} - {row['retention_ci_high']:.3f})"
                if row and row["retention"] is not None
                else ""
            )
        lines.append(f"{spec:<32}" + "".join(f"{cell:<28}" for cell in cells))
    return "\n".join(lines)


def recommendation(choice: "Choice") -> str:
    """One paragraph."""
    best = choice.best
    lost = 1 - best["retention"]
    verdict = f"you lose {lost:.1%}" if lost >= 0.0005 else "no loss was measured"
    text = (
        f"For {choice.budget} bytes: {best['spec']} ({best['bytes_per_vector']} bytes), {best['metric']} {best['score']:.4f}, "
        f"keeps {best['retention']:.1%} of full float32 (95 % interval {best['retention_ci_low']:.1%} to "
        f"{best['retention_ci_high']:.1%}): {verdict}."
    )
    if choice.runner_up and choice.difference_ci:
        low, high = choice.difference_ci
        rival = "which the data cannot tell from it" if low <= 0 else "which is worse"
        text += (
            f" Runner-up {choice.runner_up['spec']}, {rival} (difference {best['score'] - choice.runner_up['score']:.4f}, "
            f"95 % interval {low:.4f} to {high:.4f})."
        )
    return text + " Intervals are over queries or samples; they do not cover the choice among codecs."


def write_pareto(
    report: dict[str, Any], rows: Rows, front: Rows, choices: Sequence["Choice"], path: Path
) -> None:
    """One HTML file: the plot, the table of the budgets, and all codecs."""
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(choice))}</tr>" for choice in choices
    )
    head = "".join(f"<th>{escape(cell)}</th>" for cell in HEAD)
    listed = "".join(
        f"<tr><td>{escape(row['spec'])}</td><td>{row['bytes_per_vector']}</td><td>{row['score']:.4f}</td>"
        f"<td>{row['ci_low']:.4f} - {row['ci_high']:.4f}</td><td>{row['retention'] or 0:.3f}</td></tr>"
        for row in sorted(rows, key=lambda row: (row["bytes_per_vector"], -row["score"]))
    )
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>codecs</title><style>{STYLE}</style>"
        f"<h1>Bytes per vector against {escape(rows[0]['metric'])}</h1>"
        f"<p>{escape(Path(report['model']).name)}, task {escape(rows[0]['task'])}, {len(rows)} codecs. Bars are 95 % "
        "bootstrap intervals. Bytes count all that is stored for a document, the copy for re-ranking included.</p>"
        f"{_plot(rows, front)}<h2>The best of each budget</h2><table><thead><tr>{head}</tr></thead>{body}</table>"
        f"<h2>All codecs</h2><table><thead><tr><th>codec<th>bytes<th>score<th>95 % interval<th>kept</tr></thead>{listed}</table>",
        encoding="utf-8",
    )


def _plot(rows: Rows, front: Rows) -> str:
    groups = {
        "float32, float16": ("float",), "int8": ("int8",), "int4": ("int4",), "one bit": ("binary", "median", "rotated", "itq"),
        "product quantisation": ("pq",),
    }  # fmt: skip

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            [row["bytes_per_vector"] for row in front], [row["score"] for row in front],
            color="#999999", linewidth=1, zorder=1, label="Pareto front",
        )  # fmt: skip
        for colour, (label, starts) in zip(COLOURS, groups.items(), strict=False):
            chosen = [row for row in rows if row["spec"].split("+")[1].startswith(starts)]
            for reranked, marker in ((False, "o"), (True, "^")):
                part = [row for row in chosen if ("+rerank" in row["spec"]) == reranked]
                if part:
                    axes.errorbar(
                        [row["bytes_per_vector"] for row in part], [row["score"] for row in part],
                        yerr=[
                            [max(0, row["score"] - row["ci_low"]) for row in part],
                            [max(0, row["ci_high"] - row["score"]) for row in part],
                        ],
                        fmt=marker, color=colour, markersize=4, elinewidth=0.6, alpha=0.8,
                        label=label + (", re-ranked" if reranked else ""),
                    )  # fmt: skip
        low, high = axes.get_ylim()
        for row, after in zip(front, [*front[1:], None], strict=True):
            if after is None or after["score"] - row["score"] > 0.02 * (high - low):
                axes.annotate(
                    row["spec"], (row["bytes_per_vector"], row["score"]), (-4, 5), fontsize=7,
                    textcoords="offset points", ha="right",
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xlim(left=min(row["bytes_per_vector"] for row in rows) / 5)  # room for the labels
        ticks = [2**i for i in range(2, 15) if min(r["bytes_per_vector"] for r in rows) <= 2**i <= max(r["bytes_per_vector"] for r in rows)]  # fmt: skip
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("bytes per vector")
        axes.set_ylabel(rows[0]["metric"])
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="lower right")

    return svg(draw, 9, 5.4)
