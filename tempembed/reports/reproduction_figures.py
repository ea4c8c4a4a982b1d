"""The paper's figures 1 to 6, drawn from the results of a reproduction."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempembed.reports.figures import COLOURS, svg
from tempembed.reports.geometry import draw_influence
from tempembed.reproduction.maps import Maps, map_groups
from tempembed.reproduction.quantities import (
    BINARY,
    BOTH,
    BOTH_RERANKED,
    DIMENSION,
    RERANKED,
    Quantity,
    kept,
    score,
)
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Group, NotMeasured, Results
from tempembed.reproduction.sample import Sample

UNIFORMITY = Quantity(name="uniformity", unit="score", of=lambda group: group.measure("uniformity"))
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, not drawn yet."""

    name: str
    """Name of its file."""
    title: str
    caption: str
    draw: Callable[[Figure], None]
    size: tuple[float, float] = (9.0, 3.8)

    def svg(self) -> Markup:
        """An SVG element, or a line of text if nothing of it was measured."""
        try:
            return svg(self.draw, *self.size)
        except NotMeasured as missing:
            return Markup("<p class=note>Not measured: {}.</p>").format(str(missing))

    def write(self, folder: Path) -> list[Path]:
        """Write SVG and PNG files; none if nothing of it was measured."""
        figure = Figure(figsize=self.size, layout="constrained")
        try:
            self.draw(figure)
        except NotMeasured:
            return []
        paths = [folder / f"{self.name}.{ending}" for ending in ("svg", "png")]
        for path in paths:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)  # fmt: skip
            path.write_bytes(buffer.getvalue())
        return paths


def drawings(results: Results, maps: Maps) -> list[Drawing]:
    """All figures of one encoder.

    Args:
        results: of one encoder.
        maps: for figure 3; see `tempembed.reproduction.maps`.
    """
    return [
        Drawing(
            name="figure1-negatives", title="Figure 1: the influence of negatives", size=(9, 3.9),
            caption="Mean share of a query's gradient by the rank of the negative, hardest first (relative penalty, Wang & "
            "Liu 2021, eq. 5). Dashed: all negatives equal. Brackets: as many equal negatives would be as uneven. Left "
            "random vectors, right the model at the end of its training; the paper takes the middle of training.",
            draw=lambda figure: _negatives(figure, results),
        ),
        Drawing(
            name="figure2-quality", title="Figure 2: temperature against retrieval and clustering",
            caption="Lines: means over the seeds; bars: 95 % intervals over queries and seeds; small points: single seeds.",
            draw=lambda figure: _panels(figure, results, [score(RETRIEVAL), score(CLUSTERING)]),
        ),
        Drawing(
            name="figure3-tsne", title="Figure 3: the embedding space", size=(9.6, 3.9),
            caption="t-SNE of the test's documents with the most frequent labels, at three temperatures; one seed.",
            draw=lambda figure: _maps(figure, results, maps),
        ),
        Drawing(
            name="figure3-uniformity", title="Figure 3: temperature against uniformity", size=(7.2, 3.6),
            caption="The signed loss log E exp(-2 |x - y|²): higher is less uniform. Bars: 95 % by Student's t over the seeds.",
            draw=lambda figure: _uniformity(figure, results),
        ),
        Drawing(
            name="figure4-dimension", title="Figure 4: temperature against intrinsic dimension",
            caption="Principal components that carry 95 % of the variance. Bars: 95 % by Student's t over the seeds.",
            draw=lambda figure: _dimension(figure, results), size=(7.2, 3.9),
        ),
        Drawing(
            name="figure5-truncation", title="Figure 5: what truncation keeps",
            caption="Share of the full score that a prefix keeps, InfoNCE at each temperature; bands: 95 %.",
            draw=lambda figure: _truncation(figure, results),
        ),
        Drawing(
            name="figure6-binarisation", title="Figure 6: what binarisation keeps", size=(9, 4.2),
            caption="Share of the full nDCG@10 that one bit a coordinate keeps: at full width (32x smaller) and at a quarter of "
            "it (128x), as found by Hamming distance and with the top 100 re-ranked by the float query. Bars: 95 %.",
            draw=lambda figure: _binarisation(figure, results),
        ),
    ]  # fmt: skip


def error_bars(samples: Sequence[Sample], scale: float = 1.0) -> list[list[float]]:
    """How far the intervals reach below and above the means, times `scale`; 0 where there is none."""
    ends = [sample.interval or (sample.mean, sample.mean) for sample in samples]
    return [
        [scale * max(0.0, sample.mean - low) for sample, (low, _) in zip(samples, ends, strict=True)],
        [scale * max(0.0, high - sample.mean) for sample, (_, high) in zip(samples, ends, strict=True)],
    ]


def _over_temperature(axes: Axes, groups: Sequence[Group], quantity: Quantity, **style: object) -> None:
    """A line over τ with intervals, and a point for each seed."""
    found = []
    for group in groups:
        try:
            found.append((group.tau, quantity.of(group)))
        except NotMeasured:
            continue
    if not found:
        raise NotMeasured(quantity.name)
    temperatures, means = [tau for tau, _ in found], [sample.mean for _, sample in found]
    bars = error_bars([sample for _, sample in found])
    axes.errorbar(temperatures, means, yerr=bars, marker="o", markersize=4, capsize=2.5, **style)  # type: ignore[arg-type]
    for tau, sample in found:
        axes.scatter([tau] * len(sample.seeds), sample.values_S.tolist(), s=6, color="#1b2630", alpha=0.5, zorder=3, linewidths=0)  # fmt: skip
    every = sorted({*temperatures, *getattr(axes, "tempembed_ticks", ())})
    axes.tempembed_ticks = every  # type: ignore[attr-defined]
    axes.set_xscale("log")
    axes.set_xticks(every, [f"{tau:g}" for tau in every])
    axes.minorticks_off()
    axes.set_xlabel("temperature τ")
    axes.grid(alpha=0.25)


def _with_prefixes(axes: Axes, results: Results, quantity: Quantity) -> None:
    _over_temperature(axes, results.role("single"), quantity, color=COLOURS[0], label="InfoNCE")
    if groups := results.role("mrl"):
        _over_temperature(axes, groups, quantity, color=COLOURS[3], linestyle="--", label="MRL")


def _panels(figure: Figure, results: Results, quantities: Sequence[Quantity]) -> None:
    if not results.role("single"):
        raise NotMeasured("InfoNCE at a temperature")
    for axes, quantity in zip(figure.subplots(1, len(quantities)), quantities, strict=True):
        axes.set_title(quantity.name, loc="left", fontsize=10)
        try:
            _with_prefixes(axes, results, quantity)
        except NotMeasured:
            axes.text(0.5, 0.5, NOT_MEASURED, ha="center", transform=axes.transAxes)
            continue
        styles = zip((COLOURS[2], COLOURS[4], COLOURS[5]), (":", "--", "-."), strict=True)
        for (colour, dashes), group in zip(styles, results.role("multi"), strict=False):
            axes.axhline(quantity.of(group).mean, color=colour, linewidth=1.3, linestyle=dashes, label=group.entry.label)  # fmt: skip
        axes.legend(fontsize=7.5)


def _dimension(figure: Figure, results: Results) -> None:
    axes = figure.subplots()
    _with_prefixes(axes, results, DIMENSION)
    group = results.role("single")[0]
    geometry = group.runs[0].report.geometry
    baseline = geometry["pca95_random"]
    axes.axhline(baseline, linestyle="--", color="#888888")
    axes.annotate(
        f"random vectors: {baseline}", (0.99, baseline), (0, 3), xycoords=("axes fraction", "data"), fontsize=9,
        textcoords="offset points", ha="right",
    )  # fmt: skip
    axes.set_ylabel(f"components for 95 %, n = {geometry['n']:,}")
    axes.set_ylim(0, 1.12 * max(baseline, axes.get_ylim()[1]))
    axes.legend(fontsize=8)


def _truncation(figure: Figure, results: Results) -> None:
    groups = results.role("single")
    if not groups:
        raise NotMeasured("InfoNCE at a temperature")
    for axes, task in zip(figure.subplots(1, 2), (RETRIEVAL, CLUSTERING), strict=True):
        for colour, group in zip(COLOURS, groups, strict=False):
            specs = [spec for spec in group.specs(task) if not spec.is_bits]
            samples = [group.kept(task, spec) for spec in specs]
            widths = [spec.width for spec in specs]
            axes.plot(widths, [s.mean for s in samples], marker="o", markersize=4, color=colour, label=f"τ = {group.tau:g}")  # fmt: skip
            ends = [s.interval or (s.mean, s.mean) for s in samples]
            axes.fill_between(widths, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.12, linewidth=0)  # fmt: skip
        axes.set_title(f"{score(task).name} kept", loc="left", fontsize=10)
        if not (specs := groups[0].specs(task)):
            axes.text(0.5, 0.5, NOT_MEASURED, ha="center", transform=axes.transAxes)
            continue
        widths = sorted({spec.width for spec in specs})
        axes.set_xscale("log", base=2)
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.set_xlabel("coordinates kept")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)


def _binarisation(figure: Figure, results: Results) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    forms = ((BINARY, RERANKED), (BOTH, BOTH_RERANKED))
    for axes, pair, title in zip(panels, forms, ("32x: binary", "128x: a quarter, binary"), strict=True):
        for colour, form, how in zip(COLOURS[:2], pair, ("Hamming", "re-ranked"), strict=True):
            quantity = kept(RETRIEVAL, form)
            _over_temperature(axes, results.role("single"), quantity, color=colour, label=how)
            if groups := results.role("mrl"):
                _over_temperature(axes, groups, quantity, color=colour, linestyle="--", label=f"{how}, MRL")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("nDCG@10 kept")


def _negatives(figure: Figure, results: Results) -> None:
    groups = results.role("single")
    if not groups:
        raise NotMeasured("InfoNCE at a temperature")
    group = groups[len(groups) // 2]
    geometry = group.runs[0].report.geometry
    if "influence" not in geometry:
        raise NotMeasured("the influence of negatives")
    draw_influence(
        figure, geometry["influence"], model=group.entry.label, label="τ = {} ({:,.0f})", y_label="share of the gradient",
        x_label="rank among {:,} negatives",
    )  # fmt: skip


def _maps(figure: Figure, results: Results, maps: Maps) -> None:
    chosen = [group for group in map_groups(results) if group.entry.label in maps]
    if not chosen:
        raise NotMeasured("a map of the documents")
    _, labels = maps[chosen[0].entry.label]
    names = sorted(set(labels), key=lambda name: (-list(labels).count(name), name))
    colours = dict(zip(names, (*COLOURS, "#e377c2"), strict=False))
    for axes, group in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        points_M2, labels = maps[group.entry.label]
        for name, colour in colours.items():
            x, y = points_M2[[row for row, label in enumerate(labels) if label == name]].T.tolist()
            axes.scatter(x, y, s=4, linewidths=0, alpha=0.7, color=colour, label=name[:20])
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"τ = {group.tau:g}", loc="left", fontsize=10)
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=5, fontsize=7.5, markerscale=2.5, frameon=False)  # fmt: skip


def _uniformity(figure: Figure, results: Results) -> None:
    axes = figure.subplots()
    _with_prefixes(axes, results, UNIFORMITY)
    axes.set_ylabel("uniformity loss")
    axes.legend(fontsize=8)
