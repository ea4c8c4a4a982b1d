"""The paper's pictures, drawn from the trials of a sweep."""

import io
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempembed.reports.table import find, full_width

Results = list[dict[str, Any]]
COLOURS = ("#0b3c5d", "#328cc1", "#1d8a6b", "#d9a514", "#d1495b", "#6b4e9b", "#8c564b", "#7f7f7f", "#17becf")


def single_temperature(results: Results) -> Results:
    """Plain InfoNCE at temperatures that do not move, by temperature."""
    chosen = [
        r
        for r in results
        if len(r["terms"]) == 1 and r["terms"][0]["dim"] == full_width(r) and not r["terms"][0].get("course")
    ]
    return sorted(chosen, key=lambda r: r["terms"][0]["temperature"])


def svg(draw: Callable[[Figure], None], width: float = 7.2, height: float = 4.2) -> str:
    """What `draw` draws, as an SVG element."""
    # Figure without pyplot: no global state, no display
    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _temperature_axis(axes: Axes, results: Results) -> None:
    temperatures = sorted({r["terms"][0]["temperature"] for r in results})
    axes.set_xscale("log")
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.minorticks_off()
    axes.set_xlabel("temperature τ")
    axes.grid(alpha=0.25)


def _errorbar(axes: Axes, results: Results, rows: list[dict[str, Any]], key: str, **style: Any) -> None:
    low, high = ("ci_low", "ci_high") if key == "score" else ("retention_ci_low", "retention_ci_high")
    values = [row[key] for row in rows]
    below = [max(0.0, row[key] - row[low]) for row in rows]
    above = [max(0.0, row[high] - row[key]) for row in rows]
    temperatures = [r["terms"][0]["temperature"] for r in results]
    axes.errorbar(temperatures, values, yerr=[below, above], marker="o", capsize=3, **style)


def quality_by_temperature(results: Results) -> str:
    """Figure 2: τ against retrieval and clustering at full width, 95 % intervals."""

    def draw(figure: Figure) -> None:
        panels = [("ndcg_at_10", "retrieval, nDCG@10"), ("v_measure", "clustering, V-measure")]
        for axes, (metric, title), colour in zip(figure.subplots(1, 2), panels, COLOURS, strict=False):
            shown = [(r, find(r, metric, "float32", full_width(r))) for r in results]
            kept = [(r, row) for r, row in shown if row]
            if kept:
                _errorbar(axes, [r for r, _ in kept], [row for _, row in kept], "score", color=colour)
            axes.set_title(title, loc="left", fontsize=10)
            _temperature_axis(axes, results)

    return svg(draw, 9, 3.6)


def dimension_by_temperature(results: Results) -> str:
    """Figure 4: τ against the PCA-95 intrinsic dimension, with the random baseline of the same n."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        temperatures = [r["terms"][0]["temperature"] for r in results]
        axes.plot(temperatures, [r["geometry"]["pca95"] for r in results], marker="o", color=COLOURS[0])
        baseline = results[0]["geometry"]["pca95_random"]
        axes.axhline(baseline, linestyle="--", color="#888888")
        axes.annotate(
            f"random vectors: {baseline}", (temperatures[0], baseline), (0, -12), textcoords="offset points"
        )
        axes.set_ylabel(f"principal components for 95 %, n = {results[0]['geometry']['n']}")
        axes.set_ylim(bottom=0)
        _temperature_axis(axes, results)

    return svg(draw)


def retention_by_width(results: Results, codec: str, metric: str = "ndcg_at_10") -> str:
    """Figure 5 (and 6): width against the share of the full score that is kept, one line for each trial."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, result in enumerate(results):
            rows = [r for r in result["scores"] if (r["metric"], r["codec"]) == (metric, codec)]
            rows.sort(key=lambda row: row["dim"])
            dims = [row["dim"] for row in rows]
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(
                dims, [r["retention"] for r in rows], marker="o", color=colour, label=result["objective"]
            )
            axes.fill_between(
                dims, [r["retention_ci_low"] for r in rows], [r["retention_ci_high"] for r in rows],
                color=colour, alpha=0.12, linewidth=0,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(d) for d in dims])
        axes.set_xlabel("width" if codec in ("float32", "random") else "width (bits per vector)")
        axes.set_ylabel("retention of nDCG@10" if metric == "ndcg_at_10" else "retention of V-measure")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, ncols=2)

    return svg(draw)


def binary_by_temperature(results: Results) -> str:
    """Figure 6: τ against what binarisation keeps: full width, a quarter of it, and both re-ranked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        full = full_width(results[0])
        lines = [
            ("binary", full, "binary, 32x smaller"),
            ("binary_rerank", full, "binary, top 100 re-ranked"),
            ("binary", full // 4, "quarter width, binary, 128x smaller"),
            ("binary_rerank", full // 4, "quarter width, re-ranked"),
            ("float32", full // 4, "quarter width, float32, 4x smaller"),
        ]
        for i, (codec, dim, label) in enumerate(lines):
            found = [(r, row) for r in results if (row := find(r, "ndcg_at_10", codec, dim))]
            if found:  # a narrow model is not re-ranked at a quarter of its width
                there, rows = map(list, zip(*found, strict=True))
                _errorbar(axes, there, rows, "retention", color=COLOURS[i], label=label)
        axes.set_ylabel("retention of nDCG@10")
        axes.legend(fontsize=8)
        _temperature_axis(axes, results)

    return svg(draw)
