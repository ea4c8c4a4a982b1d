"""A report on disk: the JSON, its scores as a table, and its replicates."""

from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_file

from tempembed.evaluation.report import Evaluation, Report, read_report
from tempembed.system.atomic import write_json
from tempembed.system.checksums import sha256
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_tensors

REPORT = "evaluation.json"
"""The report of a run, in its folder."""


def replicates_file(path: Path) -> Path:
    """The replicates that belong to a report."""
    return path.with_suffix(".replicates.safetensors")


def report_files(path: Path) -> list[Path]:
    """All that `write_report` writes."""
    return [path, path.with_suffix(".parquet"), replicates_file(path)]


def write_report(evaluation: Evaluation, path: Path) -> Report:
    """The report as JSON; beside it its scores as Parquet and its replicates. The JSON appears last and whole, with their sum.

    Returns:
        The report as it was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    report = evaluation.report
    _, table, replicates = report_files(path)
    partial = {file: file.with_name(f".{file.name}.part") for file in (table, replicates, path)}
    try:
        rows = [{"model": report.model, **asdict(row)} for row in report.scores]
        pq.write_table(pa.Table.from_pylist(rows), partial[table])
        save_file(dict(evaluation.replicates), partial[replicates])
        report = replace(report, replicates=sha256(partial[replicates]))
        write_json(partial[path], report.to_json())
        for file, written in partial.items():
            written.replace(file)
    finally:
        for written in partial.values():
            written.unlink(missing_ok=True)
    return report


def load_evaluation(path: Path) -> Evaluation:
    """A report and its replicates.

    Raises:
        UserError: not there, or not a report.
    """
    report, beside = read_report(path), replicates_file(path)
    replicates = read_tensors(beside)
    if report.replicates not in (None, sha256(beside)):  # a report of earlier versions has no sum
        raise UserError(
            f"{beside}: expected the replicates that were written with {path.name}, got others; copy both files, or measure "
            "the model again"
        )
    lacking = [row.key for row in report.scores if row.key not in replicates]
    shapes = {(tensor.dtype.is_floating_point, tensor.shape) for tensor in replicates.values()}
    if (
        lacking
        or len(shapes) > 1
        or any(not real or len(shape) != 1 or not shape[0] for real, shape in shapes)
    ):
        raise UserError(
            f"{beside}: expected replicates of every score, equally many, got {str(shapes)[:100]} and none of "
            f"{lacking[:3]}; measure the model again"
        )
    return Evaluation(report=report, replicates=replicates)
