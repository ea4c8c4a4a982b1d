"""The paper's pictures, drawn from the trials of a sweep."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempembed.evaluation.report import ScoreRow
from tempembed.evaluation.task import metric_title
from tempembed.tuning.trial import Trial

Trials = Sequence[Trial]
COLOURS = ("#0b3c5d", "#328cc1", "#1d8a6b", "#d9a514", "#d1495b", "#6b4e9b", "#8c564b", "#7f7f7f", "#17becf")


def single_temperature(trials: Trials) -> list[Trial]:
    """Plain InfoNCE at temperatures that do not move, by temperature."""
    chosen = [
        trial
        for trial in trials
        if len(trial.terms) == 1 and trial.terms[0].dim == trial.measured.width and not trial.terms[0].course
    ]
    return sorted(chosen, key=_temperature)


def _temperature(trial: Trial) -> float:
    return trial.terms[0].temperature


def svg(draw: Callable[[Figure], None], width: float = 7.2, height: float = 4.2) -> Markup:
    """A drawing as an SVG element."""
    # Figure without pyplot: no global state, no display
    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _temperature_axis(axes: Axes, trials: Trials) -> None:
    temperatures = sorted({*map(_temperature, trials)})
    axes.set_xscale("log")
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.minorticks_off()
    axes.set_xlabel("temperature τ")
    axes.grid(alpha=0.25)


def _errorbar(axes: Axes, found: Sequence[tuple[Trial, ScoreRow]], *, kept: bool, **style: Any) -> None:
    """Scores over the temperature, or what is kept of them, with their intervals."""
    rows = [row for _, row in found]
    values = [(row.retention or 0.0) if kept else row.score for row in rows]
    low = [(row.retention_ci_low or 0.0) if kept else row.ci_low for row in rows]
    high = [(row.retention_ci_high or 0.0) if kept else row.ci_high for row in rows]
    below = [max(0.0, value - end) for value, end in zip(values, low, strict=True)]
    above = [max(0.0, end - value) for value, end in zip(values, high, strict=True)]
    temperatures = [_temperature(trial) for trial, _ in found]
    axes.errorbar(temperatures, values, yerr=[below, above], marker="o", capsize=3, **style)


def _found(trials: Trials, metric: str, codec: str, part: int = 1) -> list[tuple[Trial, ScoreRow]]:
    """The trials that have a score at a part of their width, and it."""
    rows = [(trial, trial.measured.find(metric, codec, trial.measured.width // part)) for trial in trials]
    return [(trial, row) for trial, row in rows if row]


def quality_by_temperature(trials: Trials) -> Markup:
    """Figure 2: τ against retrieval and clustering at full width, 95 % intervals."""

    def draw(figure: Figure) -> None:
        panels = [("ndcg_at_10", "retrieval, nDCG@10"), ("v_measure", "clustering, V-measure")]
        for axes, (metric, title), colour in zip(figure.subplots(1, 2), panels, COLOURS, strict=False):
            if found := _found(trials, metric, "float32"):
                _errorbar(axes, found, kept=False, color=colour)
            axes.set_title(title, loc="left", fontsize=10)
            _temperature_axis(axes, trials)

    return svg(draw, 9, 3.6)


def dimension_by_temperature(trials: Trials) -> Markup:
    """Figure 4: τ against the PCA-95 intrinsic dimension, with the random baseline of the same n."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        temperatures = [*map(_temperature, trials)]
        geometry = trials[0].measured.geometry
        sizes = [trial.measured.geometry["pca95"] for trial in trials]
        axes.plot(temperatures, sizes, marker="o", color=COLOURS[0])
        baseline = geometry["pca95_random"]
        axes.axhline(baseline, linestyle="--", color="#888888")
        axes.annotate(
            f"random vectors: {baseline}", (temperatures[0], baseline), (0, -12), textcoords="offset points"
        )
        axes.set_ylabel(f"principal components for 95 %, n = {geometry['n']}")
        axes.set_ylim(bottom=0)
        _temperature_axis(axes, trials)

    return svg(draw)


def retention_by_width(trials: Trials, codec: str, metric: str = "ndcg_at_10") -> Markup:
    """Figure 5 (and 6): width against the share of the full score that is kept, one line for each trial."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        dims: list[int] = []
        for i, trial in enumerate(trials):
            rows = [row for row in trial.measured.scores if (row.metric, row.codec) == (metric, codec)]
            rows.sort(key=lambda row: row.dim)
            dims, colour = [row.dim for row in rows], COLOURS[i % len(COLOURS)]
            axes.plot(
                dims, [row.retention or 0.0 for row in rows], marker="o", color=colour, label=trial.objective
            )
            axes.fill_between(
                dims, [row.retention_ci_low or 0.0 for row in rows], [row.retention_ci_high or 0.0 for row in rows],
                color=colour, alpha=0.12, linewidth=0,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(d) for d in dims])
        axes.set_xlabel("coordinates kept")
        axes.set_ylabel(f"retention of {metric_title(metric)}")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, ncols=2)

    return svg(draw)


def binary_by_temperature(trials: Trials) -> Markup:
    """Figure 6: τ against what binarisation keeps: full width, a quarter of it, and both re-ranked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        lines = [
            ("binary", 1, "binary, 32x smaller"),
            ("binary_rerank", 1, "binary, top 100 re-ranked"),
            ("binary", 4, "quarter width, binary, 128x smaller"),
            ("binary_rerank", 4, "quarter width, re-ranked"),
            ("float32", 4, "quarter width, float32, 4x smaller"),
        ]
        for colour, (codec, part, label) in zip(COLOURS, lines, strict=False):
            # a narrow model is not re-ranked at a quarter of its width
            if found := _found(trials, "ndcg_at_10", codec, part):
                _errorbar(axes, found, kept=True, color=colour, label=label)
        axes.set_ylabel("retention of nDCG@10")
        axes.legend(fontsize=8)
        _temperature_axis(axes, trials)

    return svg(draw)
