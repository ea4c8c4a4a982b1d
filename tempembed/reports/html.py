"""One self-contained HTML file: the pictures and the table of a sweep."""

from html import escape
from pathlib import Path
from typing import Any

from tempembed.reports import figures
from tempembed.reports.claims import directions
from tempembed.reports.predictors import predictors
from tempembed.reports.seeds import over_seeds
from tempembed.reports.style import STYLE
from tempembed.reports.table import COLUMNS, table_row
from tempembed.reports.tuning import search_figures


def write_html(results: list[dict[str, Any]], data: dict[str, Any], path: Path, note: str = "") -> None:
    """Write the report.

    Args:
        results: the trials, as in trials.json; failed ones are listed with their reason.
        data: what was trained on: `source`, `num_pairs`, `fingerprint`.
        path: the file.
        note: what is to be said of trials that were stopped early.
    """
    done = [r for r in results if r["status"] == "FINISHED" and r.get("scores")]
    failed = [r for r in results if r["status"] not in ("FINISHED", "STOPPED")]
    stopped = [r for r in results if r["status"] == "STOPPED"]
    sizes = done[0]["data"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>tempembed sweep</title><style>{STYLE}</style>",
        "<h1>What temperature does to an embedding, and to what compression leaves of it</h1>",
        f"<p>{len(done)} trials on {data['num_pairs']:,} pairs of {escape(Path(data['source']).name)} "
        f"(fingerprint {data['fingerprint']}), tested with {sizes['num_queries']:,} queries against "
        f"{sizes['num_documents']:,} documents. Bars and bands are 95 % bootstrap intervals, over queries "
        "(retrieval) or over samples of documents (clustering). One seed is one training run: intervals do not "
        "cover the spread between runs.</p>",
        "<h2>Objectives</h2>",
        _table(done),
        '<p class=note>"kept" is the share of the same model\'s full float32 nDCG@10: a quarter of the width (4x '
        "smaller), one bit a coordinate (32x), the same with the top 100 re-ranked by the float query, and a quarter "
        "of the width in bits (128x). Bold: best of the column (for PCA-95 the smallest).</p>",
    ]
    objectives = over_seeds(done)
    single = figures.single_temperature(objectives)
    if len(single) > 1:
        parts += [
            "<h2>Does the paper's picture hold here? As the temperature rises ...</h2>",
            _directions(single),
            "<h2>Temperature against retrieval and clustering</h2>",
            figures.quality_by_temperature(single),
            "<h2>Temperature against intrinsic dimension</h2>",
            figures.dimension_by_temperature(single),
            "<h2>What truncation keeps</h2>",
            figures.retention_by_width(single, "float32"),
            "<h2>What binarisation keeps</h2>",
            figures.binary_by_temperature(single),
        ]
    parts += [
        "<h2>All objectives: what truncation keeps</h2>",
        figures.retention_by_width(objectives, "float32"),
        "<h2>All objectives: what truncation and binarisation keep</h2>",
        figures.retention_by_width(objectives, "binary"),
    ]
    if len(done) > 1 and all(r.get("goals") for r in done):
        parts += ["<h2>The search</h2>", search_figures(done)]
    if found := predictors(done):
        parts += [
            "<h2>Which geometry measure predicts what compression keeps?</h2>",
            _predictors(found, len(done)),
        ]
    if stopped:
        items = "".join(
            f"<li><b>{escape(r['objective'])}</b>, seed {r['seed']}: after step {r['stopped_at']:,}</li>"
            for r in stopped
        )
        parts += ["<h2>Stopped early</h2>", f"<p>{escape(note)}</p>", f"<ul>{items}</ul>"]
    if failed:
        items = "".join(
            f"<li><b>{escape(r['name'])}</b>: {escape(r.get('error', r['status']))}</li>" for r in failed
        )
        parts += ["<h2 class=failed>Failed trials</h2>", f"<ul>{items}</ul>"]
    path.write_text("\n".join(parts), encoding="utf-8")


def _directions(single: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(claim)}</td><td>{'holds' if holds else 'does not hold'}</td><td>{escape(numbers)}</td></tr>"
        for claim, holds, numbers in directions(single)
    )
    return (
        f"<table>{rows}</table><p class=note>Judged on the two ends of the sweep: a direction holds if their 95 % "
        "intervals lie apart that way (PCA-95: if it never rises). Trials that differ in their seed are one point: the mean, in an interval that covers those of all seeds.</p>"
    )


def _predictors(found: list[dict[str, Any]], num_models: int) -> str:
    targets = [name for name in found[0] if name not in ("measure", "mean")]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("measure", *targets))
    body = ""
    for row in found[:12]:
        cells = "".join(
            f"<td>{row[t]['rho']:+.2f} ({row[t]['ci'][0]:+.2f} to {row[t]['ci'][1]:+.2f})</td>"
            for t in targets
        )
        body += f"<tr><td>{escape(row['measure'])}</td>{cells}</tr>"
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p class=note>Spearman's rank correlation of the "
        f"measure with the share of nDCG@10 that is kept, over {num_models} models, strongest first; in brackets 95 % "
        "bootstrap intervals over the models. The models differ in their objectives alone: this is no sample of all models.</p>"
    )


def _table(results: list[dict[str, Any]]) -> str:
    rows = [table_row(result) for result in results]
    best = []
    for i, name in enumerate(COLUMNS):
        values = [float(row[i]) for row in rows if row[i]] if i >= 2 else []
        best.append((min(values) if name == "PCA-95" else max(values)) if values else None)
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = ""
    for row in rows:
        cells = ""
        for i, cell in enumerate(row):
            mark = " class=best" if best[i] is not None and cell and float(cell) == best[i] else ""
            cells += f"<td{mark}>{escape(cell)}</td>"
        body += f"<tr>{cells}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
