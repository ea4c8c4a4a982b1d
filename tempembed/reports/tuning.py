"""A sweep as pages that one can point at: the Pareto front, terms against scores, and which parameters mattered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

Results = Sequence[dict[str, Any]]
FEATURES = ("τ least", "τ mean", "τ most", "terms", "width mean", "β")
LEAST_TRIALS = 8
TREES, SEED = 300, 0


def features(result: dict[str, Any]) -> list[float]:
    """A trial's objective as numbers, in the order of FEATURES: temperatures and widths weighted by their terms."""
    terms = result["terms"]
    total = sum(term["weight"] for term in terms)
    taus = [term["temperature"] for term in terms]

    def mean(key: str) -> float:
        return sum(term["weight"] * term[key] for term in terms) / total

    return [min(taus), mean("temperature"), max(taus), len(terms), mean("dim"), result.get("beta", 0.0)]


def importances(results: Results) -> dict[str, Any] | None:
    """What a random forest needs to tell the trials' scores: permutation importance of each feature for each goal.

    Returns:
        `{"goals": {goal: {feature: importance}}, "r2": {goal: out-of-bag R^2}}`; None below 8 trials. An R^2 near or below
        0 says that the features do not explain the scores: the importances then mean nothing.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(results) < LEAST_TRIALS:
        return None
    x = np.array([features(result) for result in results])
    found: dict[str, Any] = {"goals": {}, "r2": {}}
    for goal in results[0]["goals"]:
        y = np.array([result["goals"][goal] for result in results])
        forest = RandomForestRegressor(TREES, oob_score=True, random_state=SEED, min_samples_leaf=2).fit(x, y)
        measured = permutation_importance(forest, x, y, n_repeats=20, random_state=SEED).importances_mean
        found["goals"][goal] = dict(zip(FEATURES, map(float, measured), strict=True))
        found["r2"][goal] = float(forest.oob_score_)
    return found


def search_figures(results: Results) -> str:
    """The three figures as HTML with plotly's code in it; hovering a trial shows its terms.

    Args:
        results: finished trials with `goals` and `pareto_rank`.
    """
    goals = list(results[0]["goals"])
    parts = [_front(results, goals), _parallel(results, goals)]
    if found := importances(results):
        parts.append(_importance(found, len(results)))
    return "\n".join(
        figure.to_html(full_html=False, include_plotlyjs=i == 0, config={"displaylogo": False})
        for i, figure in enumerate(parts)
    )


def _hover(result: dict[str, Any]) -> str:
    terms = "<br>".join(
        f"{t['dim']} @ {t['course'] or format(t['temperature'], 'g')} * {t['weight']:g}"
        for t in result["terms"]
    )
    scores = "<br>".join(f"{goal}: {value:.4f}" for goal, value in result["goals"].items())
    return f"<b>{result['name']}</b> (Pareto rank {result['pareto_rank']})<br>{scores}<br>{terms}"


def _front(results: Results, goals: Sequence[str]) -> go.Figure:
    """The first goal against each other one; all trials, those of rank 1 in colour."""
    from plotly.subplots import make_subplots

    others = goals[1:] or goals
    figure = make_subplots(rows=1, cols=len(others), horizontal_spacing=0.12)
    for column, other in enumerate(others, 1):
        for first_rank, colour, name in ((False, "#bbbbbb", "dominated"), (True, "#d1495b", "Pareto front")):
            chosen = [r for r in results if (r["pareto_rank"] == 1) == first_rank]
            figure.add_scatter(
                x=[r["goals"][goals[0]] for r in chosen], y=[r["goals"][other] for r in chosen], mode="markers",
                marker={"color": colour, "size": 10}, name=name, showlegend=column == 1,
                text=[_hover(r) for r in chosen], hoverinfo="text", row=1, col=column,
            )  # fmt: skip
        figure.update_xaxes(title_text=goals[0], row=1, col=column)
        figure.update_yaxes(title_text=other, row=1, col=column)
    return figure.update_layout(
        title=f"Pareto front over {', '.join(goals)}", height=440, template="plotly_white"
    )


def _parallel(results: Results, goals: Sequence[str]) -> go.Figure:
    """Each trial a line through its terms and its scores."""
    columns = np.array([features(result) for result in results])
    dimensions: list[dict[str, Any]] = []
    for name, values in zip(FEATURES, columns.T, strict=True):
        if len(set(values)) == 1:
            continue  # what does not vary makes the plot unreadable
        if name.startswith("τ"):
            ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5) if values.min() <= t <= values.max()]
            dimensions.append(
                {"label": f"{name} (log)", "values": np.log10(values), "tickvals": np.log10(ticks), "ticktext": [f"{t:g}" for t in ticks]}
            )  # fmt: skip
        else:
            dimensions.append({"label": name, "values": values})
    dimensions += [{"label": goal, "values": [r["goals"][goal] for r in results]} for goal in goals]
    colours = [result["goals"][goals[-1]] for result in results]
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={
                "color": colours,
                "colorscale": "Viridis",
                "showscale": True,
                "colorbar": {"title": goals[-1]},
            },
        )
    )
    return figure.update_layout(title="Terms against scores; drag along an axis to choose trials", height=420)


def _importance(found: dict[str, Any], num_trials: int) -> go.Figure:
    figure = go.Figure()
    for goal, values in found["goals"].items():
        figure.add_bar(x=list(values), y=list(values.values()), name=f"{goal} (R² {found['r2'][goal]:.2f})")
    return figure.update_layout(
        title=f"Which parameters mattered: permutation importance, {num_trials} trials; out-of-bag R² says how far to trust it",
        height=380, template="plotly_white", yaxis_title="loss of R²",
    )  # fmt: skip
