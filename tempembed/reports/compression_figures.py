"""The figures of the study of compression: bytes against score, and what explains what bits keep."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempembed.reports.compression_tables import strongest
from tempembed.reports.figures import COLOURS
from tempembed.reports.reproduction_figures import Drawing, error_bars
from tempembed.reproduction.compression import REFERENCE, best_within, of_reference
from tempembed.reproduction.quantities import BINARY, kept
from tempembed.reproduction.results import RETRIEVAL, Group, NotMeasured, Results

MARKERS = "osD^vP*X<>hdp"


def compression_drawings(results: Results) -> list[Drawing]:
    """All figures, of one encoder."""
    return [
        Drawing(
            name="compression-bytes", title="Bytes against score", size=(9.6, 4.6),
            caption=f"Share of {REFERENCE}'s full nDCG@10 by each objective's best codec within the bytes; means over the seeds, 95 % "
            "bars. Points of one budget lie beside each other.",
            draw=lambda figure: _bytes(figure, results),
        ),
        Drawing(
            name="compression-explained", title="What explains what bits keep", size=(9.6, 6.8),
            caption="A point is a model: each objective with each seed. Share of its own full nDCG@10 that its sign bits keep, found by "
            "Hamming distance, against measures of its documents; ρ is Spearman's rank correlation.",
            draw=lambda figure: _explained(figure, results),
        ),
    ]  # fmt: skip


def _style(i: int) -> tuple[str, str]:
    """Colour and marker of an objective."""
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


def _bytes(figure: Figure, results: Results) -> None:
    budgets = sorted(results.preset.budgets)
    if not budgets:
        raise NotMeasured("a budget of bytes")
    axes, num = figure.subplots(), len(results.groups)
    for i, group in enumerate(results.groups):
        found = [best_within(results, group, budget).of_reference for budget in budgets]
        found.append(of_reference(results).of(group))
        places = [k + 0.6 * (i - (num - 1) / 2) / num for k in range(len(found))]
        colour, marker = _style(i)
        axes.errorbar(
            places, [100 * sample.mean for sample in found], yerr=error_bars(found, 100), linestyle="none", markersize=5, elinewidth=0.8,
            label=group.entry.label, color=colour, marker=marker,
        )  # fmt: skip
    width = results.groups[0].width
    axes.set_xticks(range(len(budgets) + 1), [*map(str, budgets), f"{4 * width}, full"])
    axes.set_xlabel("bytes per vector")
    axes.set_ylabel(f"% of {REFERENCE}'s full nDCG@10")
    axes.grid(axis="y", alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)


def _explained(figure: Figure, results: Results) -> None:
    measures = strongest(results)[:4]
    if not measures:
        raise NotMeasured("the geometry")
    panels = figure.subplots(2, 2, sharey=True, squeeze=False).flat
    for axes, (measure, rho) in zip(panels, measures, strict=False):
        _scatter(axes, results.groups, measure)
        axes.set_title(f"{measure.replace('_', ' ')}: ρ = {rho:+.2f}", loc="left", fontsize=10)
    figure.supylabel("% of nDCG@10 kept by bits", fontsize=10)
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside right upper", fontsize=8, frameon=False)


def _scatter(axes: Axes, groups: Sequence[Group], measure: str) -> None:
    for i, group in enumerate(groups):
        x = group.measure(measure).values_S.tolist()
        y = (100 * kept(RETRIEVAL, BINARY).of(group).values_S).tolist()
        colour, marker = _style(i)
        axes.scatter(x, y, s=22, c=colour, marker=marker, label=group.entry.label, alpha=0.85)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(alpha=0.25)
