"""One self-contained HTML file about one measured model: scores, what compression keeps, and its geometry."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tempembed.reports.figures import COLOURS, svg
from tempembed.reports.geometry import influence_picture, spectrum_picture, tsne_picture
from tempembed.reports.style import STYLE

PAPER = {
    "float32": "float32", "random": "random coordinates", "binary": "sign bits",
    "binary_rerank": "sign bits, top 100 re-ranked",
}  # fmt: skip
MOST_LINES = 8
WORDS = ".words td:last-child,.words th:last-child{text-align:left}summary{cursor:pointer;padding:.3rem 0}"
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
    "bit_balance": "0: every sign bit is half ones, 1: constant",
    "bit_correlation": "mean absolute correlation of two sign bits",
}


def write_model_page(
    report: Mapping[str, Any], path: Path, documents: tuple[Float[Tensor, "M 2"], Sequence[str]] | None = None
) -> None:
    """Write the page.

    Args:
        report: of tempembed evaluate.
        path: the file.
        documents: points of a map and their labels, if there are labels.
    """
    geometry, data = report["geometry"], report["data"]
    name = escape(Path(report["model"]).name)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title><style>{STYLE}{WORDS}</style>",
        f"<h1>{name}: what it scores, and what compression leaves</h1>",
        f"<p>{report['width']} coordinates, {report['width'] * 4:,} bytes a vector in float32; {len(data['tasks'])} tasks, the first "
        f"with {data['num_queries']:,} queries and {data['num_documents']:,} documents. Bands and brackets are 95 % bootstrap "
        "intervals, over queries, pairs or samples; &ldquo;kept&rdquo; is the share of the model's own float32 score.</p>",
    ]
    if picture := kept_picture(report["means"]):
        parts += ["<h2>What is kept, by width</h2>", picture]
    parts += ["<h2>Scores</h2>", *_score_tables(report)]
    parts += ["<h2>Geometry of the documents</h2>", _geometry_table(geometry)]
    if "spectrum" in geometry:
        parts += ["<h2>Spectrum</h2>", spectrum_picture({Path(report["model"]).name: geometry})]
    if "influence" in geometry:
        parts += [
            "<h2>Which negatives make the gradient?</h2>",
            influence_picture(geometry["influence"]),
            "<p class=note>The share of a query's gradient that each of the other queries' documents would get at a temperature, "
            "hardest first, mean over the queries (the paper's Figure 1; relative penalty of Wang and Liu 2021). Dashed: all "
            "equal. &ldquo;count&rdquo;: the effective number of negatives, exp of the entropy of the shares.</p>",
            _influence_table(geometry),
        ]
    if documents:
        points, labels = documents
        parts += [
            f"<h2>Map of {len(labels):,} documents of the {len(set(labels))} most frequent labels</h2>",
            tsne_picture(points, labels),
            "<p class=note>t-SNE: near is alike; distances between groups and their sizes mean little.</p>",
        ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table class={kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _score_tables(report: Mapping[str, Any]) -> list[str]:
    """One for each task, to open; the full score stands in its title."""
    tables = []
    for i, task in enumerate(report["data"]["tasks"]):
        rows = [row for row in report["scores"] if row["task"] == task]
        rows.sort(key=lambda row: (-row["bytes_per_vector"], -row["score"]))
        full = next(row for row in rows if (row["codec"], row["dim"]) == ("float32", report["width"]))
        cells = [
            [
                row["spec"], str(row["bytes_per_vector"]), f"{row['score']:.4f}",
                f"{row['ci_low']:.4f} - {row['ci_high']:.4f}",
                *(("", "") if row["retention"] is None else (
                    f"{row['retention']:.3f}", f"{row['retention_ci_low']:.3f} - {row['retention_ci_high']:.3f}"
                )),
            ]
            for row in rows
        ]  # fmt: skip
        tables.append(
            f"<details{' open' if i == 0 else ''}><summary><b>{escape(task)}</b>: {escape(full['metric'])} {full['score']:.4f} "
            f"({full['ci_low']:.4f} - {full['ci_high']:.4f}), {len(rows)} codecs</summary>"
            f"{_table(('codec', 'bytes', full['metric'], '95 % interval', 'kept', '95 % interval'), cells)}</details>"
        )
    left_out = [
        f"<li>{escape(one['spec'])} on {escape(one['task'])}: {escape(one['why'])}"
        for one in report["skipped"]
    ]
    return [*tables, f"<p>Left out:</p><ul>{''.join(left_out)}</ul>" if left_out else ""]


def _geometry_table(geometry: Mapping[str, Any]) -> str:
    rows = [(name, f"{geometry[name]:.4g}", meaning) for name, meaning in MEANING.items() if name in geometry]
    return _table(("measure", "value", "what it says"), rows, "words")


def _influence_table(geometry: Mapping[str, Any]) -> str:
    influence = geometry["influence"]
    rows = [
        (
            temperature, f"{curve['effective']:,.1f}", f"{influence['random'][temperature]['effective']:,.1f}",
            f"{geometry[f'hardest_tenth_share_{temperature}']:.3f}",
        )
        for temperature, curve in influence["model"].items()
    ]  # fmt: skip
    head = ("temperature τ", "effective negatives", "of random vectors", "share of the hardest tenth")
    return _table(head, rows)


def kept_picture(means: Sequence[dict[str, Any]]) -> str:
    """Width against what codecs keep, a panel for each kind of task; empty if no codec has two widths."""
    widths: dict[str, set[int]] = {}
    for row in means:
        widths.setdefault(row["codec"], set()).add(row["dim"])
    codecs = [name for name in (*PAPER, *widths) if len(widths.get(name, ())) > 1]
    codecs = list(dict.fromkeys(codecs))[:MOST_LINES]
    kinds = list(dict.fromkeys(row["kind"] for row in means if row["codec"] in codecs))
    if not kinds:
        return ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(-(-len(kinds) // 2), min(2, len(kinds)), squeeze=False).flatten()
        for axes, kind in zip(panels, kinds, strict=False):
            for colour, codec in zip(COLOURS, codecs, strict=False):
                rows = [row for row in means if (row["kind"], row["codec"]) == (kind, codec)]
                rows.sort(key=lambda row: row["dim"])
                if not rows:
                    continue
                dims = [row["dim"] for row in rows]
                low, high = zip(*(row["retention_of_means_ci"] for row in rows), strict=True)
                label = PAPER.get(codec, codec.replace("_", " "))
                kept = [row["retention_of_means"] for row in rows]
                axes.plot(dims, kept, marker="o", markersize=4, color=colour, label=label)
                axes.fill_between(dims, low, high, color=colour, alpha=0.12, linewidth=0)
            axes.set_title(kind.replace("_", " "), loc="left", fontsize=10)
            axes.set_xscale("log", base=2)
            shown = sorted({row["dim"] for row in means if row["kind"] == kind and row["codec"] in codecs})
            axes.set_xticks(shown, [str(dim) for dim in shown])
            axes.set_xlabel("width")
            axes.set_ylabel("share of the full score")
            axes.grid(alpha=0.25)
        for axes in panels[len(kinds) :]:
            axes.remove()
        lines = {line.get_label(): line for axes in panels[: len(kinds)] for line in axes.get_lines()}
        figure.legend(
            lines.values(), lines.keys(), loc="outside upper left", ncols=4, fontsize=8, frameon=False
        )

    return svg(draw, 9.6 if len(kinds) > 1 else 6.4, 0.5 + 3.2 * -(-len(kinds) // 2))
