"""One self-contained HTML file about one measured model: scores, what compression keeps, and its geometry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tempembed.codecs.spec import codec_title
from tempembed.evaluation.report import MeanRow, Report, ScoreRow
from tempembed.reports.figures import COLOURS, svg
from tempembed.reports.geometry import influence_picture, spectrum_picture, tsne_picture
from tempembed.reports.pages import write_page
from tempembed.reports.table import Table
from tempembed.tuning.verdict import Verdict

PAPER = ("float32", "random", "binary", "binary_rerank")
"""Codecs that are drawn first: the paper's."""
MOST_LINES = 8
MEANING = {
    "n": "documents measured",
    "pca95": "principal components that carry 95 % of the variance",
    "pca95_random": "the same of random vectors: the most there can be at this n",
    "participation_ratio": "(Σλ)² / Σλ², the number of equal variances that would be as spread",
    "isoscore": "0: one direction has all variance, 1: all have the same",
    "eigen_entropy_rank": "exp of the entropy of the variances",
    "rankme": "exp of the entropy of the singular values",
    "stable_rank": "Σσ² / max σ², a common mean included",
    "twonn": "intrinsic dimension by the two nearest neighbours, fitted line",
    "twonn_mle": "the same by maximum likelihood",
    "mle": "intrinsic dimension by 20 nearest neighbours (Levina and Bickel)",
    "alignment": "mean squared distance of a query to its document: 0 perfect, 2 unrelated",
    "uniformity": "0: collapsed, near -4: spread over the sphere",
    "tolerance": "mean cosine of two documents of one label",
    "modality_gap": "distance of the mean query to the mean document, where one is words and the other pictures",
    "query_pca95": "principal components that carry 95 % of the variance of the queries",
    "query_participation_ratio": "(Σλ)² / Σλ² of the queries",
    "query_twonn": "intrinsic dimension of the queries by the two nearest neighbours",
    "bit_balance": "0: every sign bit is half ones, 1: constant",
    "bit_correlation": "mean absolute correlation of two sign bits",
    "bit_participation": "how many independent bits the sign bits are worth",
    "bit_margin": "how far a query's document stands above its neighbours, over what sign bits blur",
}


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """The scores of one task, to open; the full score stands in the title."""

    full: ScoreRow
    title: str
    table: Table


def write_model_page(
    report: Report,
    path: Path,
    documents: tuple[Float[Tensor, "M 2"], Sequence[str]] | None = None,
    *,
    verdict: Verdict | None = None,
    retrievals: Path | None = None,
) -> None:
    """Write the page.

    Args:
        report: what was measured.
        path: the file.
        documents: points of a map and their labels, if there are labels.
        verdict: whether training made the model better.
        retrievals: the page with pictures of what is found, beside it; named where it is there.
    """
    geometry, name = report.geometry, Path(report.model).name
    influence = geometry.get("influence")
    points, labels = documents or (None, ())
    write_page(
        path, "model", verdict=verdict, verdict_table=verdict_table(verdict) if verdict else None, report=report, name=name, kept=kept_picture(report.means), undrawn=codecs_of_widths(report.means)[MOST_LINES:], tasks=_task_scores(report),
        geometry=_geometry_table(geometry),
        spectrum=spectrum_picture({name: geometry}) if "spectrum" in geometry else None,
        influence=influence_picture(influence) if influence else None,
        influence_table=_influence_table(geometry) if influence else None,
        retrievals=retrievals.name if retrievals and retrievals.exists() else None,
        map=None if points is None else tsne_picture(points, labels), labels=labels,
    )  # fmt: skip


def verdict_table(verdict: Verdict) -> Table:
    """The start and the end by goal."""
    rows = tuple(
        (
            each.goal, f"{each.metric} {each.start:.4f}", f"{each.metric} {each.end:.4f}", f"{each.difference:+.4f}",
            f"{each.ci[0]:+.4f} to {each.ci[1]:+.4f}", each.outcome,
        )
        for each in verdict.comparisons
    )  # fmt: skip
    head = ("goal", "before training", "after", "difference", "95 % interval, paired", "verdict")
    return Table(head=head, rows=rows)


def _task_scores(report: Report) -> list[TaskScores]:
    found = []
    for task in report.data.tasks:
        rows = sorted(report.of_task(task), key=lambda row: (-row.bytes_per_vector, -row.score))
        full = next(row for row in rows if report.is_full(row))
        title = f"{full.metric} {full.score:.4f} ({full.ci_low:.4f} - {full.ci_high:.4f}), {len(rows)} codecs"
        head = ("codec", "bytes", full.metric, "95 % interval", "kept", "95 % interval")
        found.append(
            TaskScores(full=full, title=title, table=Table(head=head, rows=tuple(map(_cells, rows))))
        )
    return found


def _cells(row: ScoreRow) -> tuple[str, ...]:
    kept, interval = "", ""
    if row.retention is not None:
        kept, interval = f"{row.retention:.3f}", f"{row.retention_ci_low:.3f} - {row.retention_ci_high:.3f}"
    own = f"{row.ci_low:.4f} - {row.ci_high:.4f}"
    return row.spec, str(row.bytes_per_vector), f"{row.score:.4f}", own, kept, interval


def _geometry_table(geometry: Mapping[str, Any]) -> Table:
    rows = tuple((name, f"{geometry[name]:.4g}", text) for name, text in MEANING.items() if name in geometry)
    return Table(head=("measure", "value", "what it says"), rows=rows, prose=frozenset({2}))


def _influence_table(geometry: Mapping[str, Any]) -> Table:
    influence = geometry["influence"]
    rows = tuple(
        (
            temperature, f"{curve['effective']:,.1f}", f"{influence['random'][temperature]['effective']:,.1f}",
            f"{geometry[f'hardest_tenth_share_{temperature}']:.3f}",
        )
        for temperature, curve in influence["model"].items()
    )  # fmt: skip
    head = ("temperature τ", "effective negatives", "of random vectors", "share of the hardest tenth")
    return Table(head=head, rows=rows)


def codecs_of_widths(means: Sequence[MeanRow]) -> list[str]:
    """Names of the codecs that were measured at two widths or more, the paper's first."""
    widths: dict[str, set[int]] = {}
    for row in means:
        widths.setdefault(row.codec, set()).add(row.dim)
    return [name for name in dict.fromkeys((*PAPER, *widths)) if len(widths.get(name, ())) > 1]


def kept_picture(means: Sequence[MeanRow]) -> Markup | None:
    """Width against what codecs keep, a panel for each kind of task; None if no codec has two widths."""
    codecs = codecs_of_widths(means)[:MOST_LINES]
    kinds = list(dict.fromkeys(row.kind for row in means if row.codec in codecs))
    if not kinds:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(-(-len(kinds) // 2), min(2, len(kinds)), squeeze=False).flatten()
        for axes, kind in zip(panels, kinds, strict=False):
            _kept_panel(axes, kind, codecs, [row for row in means if row.kind == kind])
        for axes in panels[len(kinds) :]:
            axes.remove()
        lines = {line.get_label(): line for axes in panels[: len(kinds)] for line in axes.get_lines()}
        figure.legend(
            lines.values(), lines.keys(), loc="outside upper left", ncols=4, fontsize=8, frameon=False
        )

    return svg(draw, 9.6 if len(kinds) > 1 else 6.4, 0.5 + 3.2 * -(-len(kinds) // 2))


def _kept_panel(axes: Axes, kind: str, codecs: Sequence[str], means: Sequence[MeanRow]) -> None:
    """One kind of task, a line for each codec."""
    for colour, codec in zip(COLOURS, codecs, strict=False):
        rows = sorted((row for row in means if row.codec == codec), key=lambda row: row.dim)
        if rows:
            dims = [row.dim for row in rows]
            low, high = zip(*(row.retention_of_means_ci for row in rows), strict=True)
            kept = [row.retention_of_means for row in rows]
            label = codec_title(rows[0].spec, codec)
            axes.plot(dims, kept, marker="o", markersize=4, color=colour, label=label)
            axes.fill_between(dims, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_title(kind.replace("_", " "), loc="left", fontsize=10)
    axes.set_xscale("log", base=2)
    shown = sorted({row.dim for row in means if row.codec in codecs})
    axes.set_xticks(shown, [str(dim) for dim in shown])
    axes.set_xlabel("width")
    axes.set_ylabel("share of the full score")
    axes.grid(alpha=0.25)
