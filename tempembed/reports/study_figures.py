"""A sweep as pages that one can point at: the Pareto front, terms against scores, and which parameters mattered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from tempembed.tuning.trial import Trial

Trials = Sequence[Trial]
FEATURES = ("τ least", "τ mean", "τ most", "terms", "width mean", "β", "share of bits")
LEAST_TRIALS = 8
TREES, SEED = 300, 0


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Which features a random forest needs to predict the trials' scores at one goal."""

    by_feature: dict[str, float]
    """Permutation importance, in the order of FEATURES."""
    r2: float
    """Out-of-bag R²; near or below 0 the features do not explain the scores, and the importances mean nothing."""


def features(trial: Trial) -> list[float]:
    """A trial's objective as numbers, in the order of FEATURES: temperatures and widths weighted by their terms, and the share of the

    weight that is on what an index stores.
    """
    total = sum(term.weight for term in trial.terms)
    taus = [term.temperature for term in trial.terms]
    mean_tau = sum(term.weight * term.temperature for term in trial.terms) / total
    mean_dim = sum(term.weight * term.dim for term in trial.terms) / total
    stored = sum(term.weight for term in trial.terms if term.view != "float") / total
    return [min(taus), mean_tau, max(taus), len(taus), mean_dim, trial.beta, stored]


def importances(trials: Trials) -> dict[str, Importance]:
    """The importance of each feature, by goal; empty below 8 trials."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(trials) < LEAST_TRIALS:
        return {}
    x = np.array([features(trial) for trial in trials])
    found = {}
    for goal in _goals(trials):
        y = np.array([_value(trial, goal) for trial in trials])
        forest = RandomForestRegressor(TREES, oob_score=True, random_state=SEED, min_samples_leaf=2).fit(x, y)
        means = permutation_importance(forest, x, y, n_repeats=20, random_state=SEED).importances_mean
        by_feature = dict(zip(FEATURES, map(float, means), strict=True))
        found[goal] = Importance(by_feature=by_feature, r2=float(forest.oob_score_))
    return found


def _goals(trials: Trials) -> list[str]:
    return list(trials[0].goals or {})


def _value(trial: Trial, goal: str) -> float:
    return (trial.goals or {})[goal]


def study_figures(trials: Trials) -> Markup:
    """The three figures as HTML with plotly's code in it; hovering a trial shows its terms.

    Args:
        trials: finished, with `goals` and `pareto_rank`.
    """
    goals = _goals(trials)
    parts = [_front(trials, goals), _parallel(trials, goals)]
    if found := importances(trials):
        parts.append(_importance(found, len(trials)))
    html = "\n".join(
        figure.to_html(full_html=False, include_plotlyjs=i == 0, config={"displaylogo": False})
        for i, figure in enumerate(parts)
    )
    return Markup(html)


def _hover(trial: Trial) -> str:
    terms = "<br>".join(f"{term.dim} @ {term.schedule} * {term.weight:g}" for term in trial.terms)
    scores = "<br>".join(f"{goal}: {value:.4f}" for goal, value in (trial.goals or {}).items())
    return f"<b>{trial.name}</b> (Pareto rank {trial.pareto_rank})<br>{scores}<br>{terms}"


def _front(trials: Trials, goals: Sequence[str]) -> go.Figure:
    """The first goal against each other one; all trials, those of rank 1 in colour."""
    from plotly.subplots import make_subplots

    others = goals[1:] or goals
    figure = make_subplots(rows=1, cols=len(others), horizontal_spacing=0.12)
    for column, other in enumerate(others, 1):
        for first_rank, colour, name in ((False, "#bbbbbb", "dominated"), (True, "#d1495b", "Pareto front")):
            chosen = [trial for trial in trials if (trial.pareto_rank == 1) == first_rank]
            figure.add_scatter(
                x=[_value(t, goals[0]) for t in chosen], y=[_value(t, other) for t in chosen], mode="markers",
                marker={"color": colour, "size": 10}, name=name, showlegend=column == 1,
                text=[_hover(t) for t in chosen], hoverinfo="text", row=1, col=column,
            )  # fmt: skip
        figure.update_xaxes(title_text=goals[0], row=1, col=column)
        figure.update_yaxes(title_text=other, row=1, col=column)
    return figure.update_layout(
        title=f"Pareto front over {', '.join(goals)}", height=440, template="plotly_white"
    )


def _parallel(trials: Trials, goals: Sequence[str]) -> go.Figure:
    """Each trial a line through its terms and its scores."""
    columns = np.array([features(trial) for trial in trials])
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
    dimensions += [{"label": goal, "values": [_value(t, goal) for t in trials]} for goal in goals]
    colours = [_value(trial, goals[-1]) for trial in trials]
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


def _importance(found: dict[str, Importance], num_trials: int) -> go.Figure:
    figure = go.Figure()
    for goal, each in found.items():
        figure.add_bar(
            x=list(each.by_feature), y=list(each.by_feature.values()), name=f"{goal} (R² {each.r2:.2f})"
        )
    return figure.update_layout(
        title=f"Which parameters mattered: permutation importance, {num_trials} trials; out-of-bag R² says how far to trust it",
        height=380, template="plotly_white", yaxis_title="loss of R²",
    )  # fmt: skip
