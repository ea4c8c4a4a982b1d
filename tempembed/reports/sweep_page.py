"""One self-contained HTML file: the pictures and the tables of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from markupsafe import Markup

from tempembed.evaluation.report import Report
from tempembed.reports import figures
from tempembed.reports.claims import directions_table
from tempembed.reports.pages import write_page
from tempembed.reports.predictors import predictors
from tempembed.reports.seeds import over_seeds
from tempembed.reports.study_figures import study_figures
from tempembed.reports.table import Table
from tempembed.reports.trial_table import trial_table
from tempembed.tuning.trial import Trial

MOST_PREDICTORS = 12


def write_sweep_page(trials: Sequence[Trial], data: Mapping[str, Any], path: Path, note: str = "") -> None:
    """Write the report of a sweep.

    Args:
        trials: all of it; failed ones are listed with their reason.
        data: what was trained on: `source`, `num_pairs`, `fingerprint`.
        path: the file.
        note: what is to be said of trials that were stopped early.
    """
    done = [trial for trial in trials if trial.is_finished and trial.report]
    objectives = over_seeds(done)
    single = figures.single_temperature(objectives)
    is_study = len(done) > 1 and all(trial.goals for trial in done)
    write_page(
        path, "sweep", data=SimpleNamespace(**data), source=Path(data["source"]).name, note=note, num_trials=len(done),
        test=done[0].measured.data, objectives=trial_table(done), pictures=_pictures(objectives, single),
        directions=directions_table(single) if len(single) > 1 else None,
        study=study_figures(done) if is_study else None,
        predictors=predictor_table([trial.measured for trial in done]),
        stopped=[trial for trial in trials if trial.status == "STOPPED"],
        failed=[trial for trial in trials if trial.status not in ("FINISHED", "STOPPED")],
    )  # fmt: skip


def _pictures(objectives: Sequence[Trial], single: Sequence[Trial]) -> list[tuple[str, Markup]]:
    """Titles and pictures."""
    found = []
    if len(single) > 1:
        found = [
            ("Temperature against retrieval and clustering", figures.quality_by_temperature(single)),
            ("Temperature against intrinsic dimension", figures.dimension_by_temperature(single)),
            ("What truncation keeps", figures.retention_by_width(single, "float32")),
            ("What binarisation keeps", figures.binary_by_temperature(single)),
        ]
    return [
        *found,
        ("All objectives: what truncation keeps", figures.retention_by_width(objectives, "float32")),
        (
            "All objectives: what truncation and binarisation keep",
            figures.retention_by_width(objectives, "binary"),
        ),
    ]


def predictor_table(reports: Sequence[Report], most: int = MOST_PREDICTORS) -> Table | None:
    """Which geometry measures predict retention, strongest first, at most so many; None with few models."""
    found = predictors(reports)
    if not found:
        return None
    rows = tuple(
        (
            row.measure,
            *(f"{c.rho:+.2f} ({c.ci[0]:+.2f} to {c.ci[1]:+.2f})" for c in row.correlations.values()),
        )
        for row in found[:most]
    )
    return Table(
        head=("measure", *found[0].correlations), rows=rows,
        note="Spearman's rank correlation of the measure with the share of nDCG@10 that is kept, over "
        f"{len(reports)} models, strongest first; in brackets 95 % bootstrap intervals over the models. The models differ in "
        "their objectives alone: this is no sample of all models.",
    )  # fmt: skip
