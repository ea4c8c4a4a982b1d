"""A measured model as metric points. Pure: the shape of what MLflow's compare view draws."""

from typing import Any

from tempembed.objective import Terms


def evaluation_points(report: dict[str, Any]) -> list[tuple[str, float, int]]:
    """(key, value, step) of a report. Curves over the width have the width as their step, ascending, so that

    the compare view draws retention curves over each other and tables show the full width.
    """
    geometry = report["geometry"]
    points = [
        ("intrinsic_dimension/pca95", float(geometry["pca95"]), 0),
        ("intrinsic_dimension/pca95_random", float(geometry["pca95_random"]), 0),
        ("geometry/alignment", geometry["alignment"], 0),
        ("geometry/uniformity", geometry["uniformity"], 0),
    ]
    for row in sorted(report["scores"], key=lambda row: row["dim"]):
        points.append((f"eval/{row['metric']}/{row['codec']}", row["score"], row["dim"]))
        if row["retention"] is not None:
            points.append((f"retention/{row['metric']}/{row['codec']}", row["retention"], row["dim"]))
            summary = f"retention_at_{row['bytes_per_vector']}_bytes/{row['metric']}/{row['codec']}"
            points.append((summary, row["retention"], 0))
    return points


def temperature_points(terms: Terms) -> list[tuple[str, float, int]]:
    """Temperatures of an objective as numbers, the x axis of a scatter plot: weighted mean, least and most."""
    total = sum(term.weight for term in terms)
    taus = [term.temperature for term in terms]
    mean = sum(term.weight * term.temperature for term in terms) / total
    return [
        ("temperature/mean", mean, 0),
        ("temperature/min", min(taus), 0),
        ("temperature/max", max(taus), 0),
    ]
