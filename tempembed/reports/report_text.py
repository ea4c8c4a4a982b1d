"""Reports as text for a terminal: scores, models compared, measures that predict."""

from collections.abc import Sequence

from tempembed.evaluation.compare import Difference
from tempembed.evaluation.report import Report, ScoreRow
from tempembed.reports.predictors import LEAST_MODELS, Predictor


def score_text(report: Report) -> str:
    """The geometry, and the scores by task, largest codec first."""
    geometry = {name: value for name, value in report.geometry.items() if isinstance(value, int | float)}
    lines = [
        "   ".join(f"{name} {value:.4g}" for name, value in geometry.items()),
        f"{'task':<21}{'codec':<32}{'bytes':>6}{'score':>8}  {'95 % interval':<17}{'kept':>7}  {'95 % interval'}",
        *map(
            _score_line, sorted(report.scores, key=lambda row: (row.task, -row.bytes_per_vector, -row.score))
        ),
        *left_out_lines(report),
    ]
    lines += [
        f"{row.task} of the vectors as the model gives them, not normalised: {row.raw_score:.5f}"
        for row in report.scores
        if row.raw_score is not None
    ]
    lines += source_lines(report)
    lines += [f"mteb's own score of {name}: {score:.5f}" for name, score in (report.mteb or {}).items()]
    return "\n".join(lines)


def _score_line(row: ScoreRow) -> str:
    line = (
        f"{row.task[:20]:<21}{row.spec:<32}{row.bytes_per_vector:>6}{row.score:8.4f}  "
        f"{row.ci_low:.4f} - {row.ci_high:.4f}"
    )
    if row.retention is None:
        return line
    return f"{line}  {row.retention:7.3f}  {row.retention_ci_low:.3f} - {row.retention_ci_high:.3f}"


def source_lines(report: Report) -> list[str]:
    """The score of each source's queries, at full precision."""
    full = {(row.task, row.spec) for row in report.scores if report.is_full(row)}
    return [
        f"{row.task} of the {row.num_items:,} queries from {row.source}: {row.score:.4f}  {row.ci_low:.4f} - {row.ci_high:.4f}"
        for row in report.by_source or ()
        if (row.task, row.spec) in full
    ]


def left_out_lines(report: Report) -> list[str]:
    """Codecs that a task's documents cannot have, and why."""
    return [f"left out on {one.task}: {one.why}" for one in report.skipped]


def difference_text(rows: Sequence[Difference]) -> str:
    """Paired differences of two models; `*` where the interval leaves zero out."""
    lines = [
        f"{'task':<21}{'codec':<24}{'first':>8}{'second':>8}{'diff.':>9}  {'95 % interval':<19}{'kept diff.':>10}"
    ]
    for row in rows:
        (low, high), (kept_low, kept_high) = row.ci, row.retention_ci
        one, two = row.first, row.second
        mark = "*" if low > 0 or high < 0 else " "
        spec = one.spec if one.spec == two.spec else f"{one.spec} / {two.spec}"
        lines.append(
            f"{one.task[:20]:<21}{spec:<24}{one.score:8.4f}{two.score:8.4f}{row.score:+9.4f}{mark} "
            f"{low:+.4f} .. {high:+.4f}  {row.retention:+9.3f} ({kept_low:+.3f} .. {kept_high:+.3f})"
        )
    return "\n".join(lines)


def predictor_text(rows: Sequence[Predictor], num_models: int) -> str:
    """Which geometry measure predicts retention, strongest first."""
    if not rows:
        return f"which geometry measure predicts retention: needs at least {LEAST_MODELS} models, got {num_models}"
    lines = [
        f"rank correlation with retention of nDCG@10 over {num_models} models (95 % interval over the models)",
        f"{'measure':<30}" + "".join(f"{target:<26}" for target in rows[0].correlations),
    ]
    for row in rows:
        cells = [f"{c.rho:+.2f} ({c.ci[0]:+.2f} .. {c.ci[1]:+.2f})" for c in row.correlations.values()]
        lines.append(f"{row.measure:<30}" + "".join(f"{cell:<26}" for cell in cells))
    return "\n".join(lines)
