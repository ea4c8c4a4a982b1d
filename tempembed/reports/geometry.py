"""Pictures of an embedding space: its documents on a map, its spectrum, the influence of negatives."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tempembed.reports.figures import COLOURS, svg


def tsne_picture(points_M2: Float[Tensor, "M 2"], labels: Sequence[str]) -> Markup:
    """Documents on a map, coloured by label, the most frequent first."""
    names = sorted(set(labels), key=lambda name: (-list(labels).count(name), name))
    colours = (*COLOURS, "#e377c2")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, name in enumerate(names):
            rows = [row for row, label in enumerate(labels) if label == name]
            x, y = points_M2[rows].T.tolist()
            colour = colours[i % len(colours)]
            label = f"{_shown(name)} ({len(rows)})"
            axes.scatter(x, y, s=9, color=colour, alpha=0.7, linewidths=0, label=label)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.legend(loc="outside right upper", fontsize=8, markerscale=2, frameon=False)

    return svg(draw, 9, 6)


def spectrum_picture(geometries: Mapping[str, dict[str, Any]]) -> Markup:
    """Share of the variance by rank, and what the first components carry; by name of the model. Random vectors dashed."""

    def draw(figure: Figure) -> None:
        by_rank, carried = figure.subplots(1, 2)
        random = next(iter(geometries.values()))
        for axes, curve in ((by_rank, "spectrum"), (carried, "cumulative")):
            axes.plot(
                *_steps(random[f"random_{curve}"]), color="#888888", linestyle="--", label="random vectors"
            )
            for colour, (name, geometry) in zip(COLOURS, geometries.items(), strict=False):
                axes.plot(*_steps(geometry[curve]), color=colour, label=_shown(name))
            axes.set_xlabel("principal component, largest first")
            axes.grid(alpha=0.25)
        by_rank.set_xscale("log")
        by_rank.set_yscale("log")
        by_rank.minorticks_off()  # unnamed here, and half of the time of drawing
        by_rank.set_title("share of the variance", loc="left", fontsize=10)
        by_rank.set_ylim(bottom=1e-6)
        by_rank.legend(fontsize=8, loc="lower left")
        carried.set_title("share of the variance that the first components carry", loc="left", fontsize=10)
        carried.set_ylim(0, 1.02)
        carried.axhline(0.95, color="#d1495b", linewidth=0.8)
        for count in (random["pca95_random"], *(geometry["pca95"] for geometry in geometries.values())):
            carried.plot([count, count], [0, 0.95], color="#d1495b", linewidth=0.8, linestyle=":")
        if len(geometries) == 1:
            text = f"95 %: {random['pca95']} components,\nof random vectors {random['pca95_random']}"
            place = {"transform": carried.transAxes, "ha": "right", "fontsize": 9}
            carried.text(0.97, 0.05, text, bbox={"facecolor": "white", "edgecolor": "none"}, **place)

    return svg(draw, 9.6, 3.9)


def _shown(name: str) -> str:
    """A name for a legend: short, without a formula between dollars, without a leading underscore (which hides a line)."""
    short = name if len(name) <= 30 else f"{name[:12]}…{name[-17:]}"
    return f"{' ' * short.startswith('_')}{short}".replace("$", r"\$")


def _steps(pairs: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [rank for rank, _ in pairs], [share for _, share in pairs]


def influence_picture(influence: Mapping[str, Any]) -> Markup:
    """Figure 1: mean share of the gradient by a negative's rank, for random vectors and for the model."""

    def draw(figure: Figure) -> None:
        draw_influence(
            figure, influence, model="this model", label="τ = {}: {:,.0f} count", y_label="mean share of the gradient",
            x_label="rank of the negative among {:,}, hardest first",
        )  # fmt: skip

    return svg(draw, 9.6, 4.2)


def draw_influence(
    figure: Figure, influence: Mapping[str, Any], *, model: str, label: str, x_label: str, y_label: str
) -> None:
    """Two panels, random vectors and the model, with a curve for each temperature.

    Args:
        figure: takes them.
        influence: of `geometry.negatives.influence_curves`.
        model: title of the model's panel.
        label: of a curve, with places for the temperature and the effective negatives.
        x_label: with a place for the number of negatives.
        y_label: of both panels.
    """
    ranks = influence["ranks"]
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(panels, (("random", "random vectors"), ("model", model)), strict=True):
        for colour, (temperature, curve) in zip(COLOURS, influence[key].items(), strict=False):
            named = label.format(temperature, curve["effective"])
            axes.plot(ranks, curve["shares"], color=colour, marker=".", markersize=4, label=named)
        axes.axhline(1 / ranks[-1], color="#888888", linestyle="--", linewidth=0.9)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(x_label.format(ranks[-1]))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="lower left")
    panels[0].set_ylim(1e-7, 1)
    panels[0].set_ylabel(y_label)
