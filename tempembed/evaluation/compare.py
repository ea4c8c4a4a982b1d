"""Two measured models, paired: the same queries, the same resamples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tempembed.evaluation.statistics import interval
from tempembed.system.checksums import sha256
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json, read_tensors

Measured = tuple[dict[str, Any], Mapping[str, Tensor]]
"""A report and its replicates."""


def load_report(path: Path) -> Measured:
    """A report and its replicates.

    Raises:
        UserError: not there, or not a report.
    """
    report = read_report(path)
    beside = path.with_suffix(".replicates.safetensors")
    replicates = read_tensors(beside)
    if report.get("replicates", found := sha256(beside)) != found:  # of before, they have no sum
        raise UserError(
            f"{beside}: expected the replicates that were written with {path.name}, got others; copy both files, or measure "
            "the model again"
        )
    lacking = [f"{row['task']}|{row['spec']}" for row in report["scores"]]
    lacking = [key for key in lacking if key not in replicates]
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
    return report, replicates


_NUMBER = (int, float)
_NUMBER_OR_NONE = (int, float, type(None))
_ROW: dict[str, Any] = {
    "task": str, "spec": str, "codec": str, "metric": str, "dim": int, "bytes_per_vector": int, "score": _NUMBER,
    "ci_low": _NUMBER, "ci_high": _NUMBER, "retention": _NUMBER_OR_NONE, "retention_ci_low": _NUMBER_OR_NONE,
    "retention_ci_high": _NUMBER_OR_NONE,
}  # fmt: skip


def read_report(path: Path) -> dict[str, Any]:
    """A report of `tempembed evaluate`, its fields checked.

    Raises:
        UserError: not there, or not a report; names the first field that is not as it should be.
    """
    try:
        report = read_json(path)
    except UserError as error:
        raise UserError(f"expected a report of tempembed evaluate, and could not read it: {error}") from error

    def require(good: bool, what: str) -> None:
        if not good:
            raise UserError(
                f"{path}: expected a report of tempembed evaluate, and could not read it ({what}); measure the model again"
            )

    def are(values: Any, kinds: dict[str, Any]) -> bool:
        return isinstance(values, dict) and all(
            name in values and isinstance(values[name], kind) and not isinstance(values[name], bool)
            for name, kind in kinds.items()
        )

    kinds = {"model": str, "width": int, "scores": list, "data": dict, "geometry": dict}
    require(are(report, kinds), f"expected {', '.join(kinds)}")
    tasks = report["data"].get("tasks")
    require(isinstance(tasks, dict), "expected data.tasks")
    for name, task in tasks.items():
        require(are(task, {"fingerprint": str}), f"task {name[:60]!r}: expected a fingerprint")
    for number, row in enumerate(report["scores"], start=1):
        require(
            are(row, _ROW) and row["task"] in tasks, f"score {number}: expected {', '.join(_ROW)} of a task"
        )
        require(
            not any(abs(v) >= 1e300 for v in row.values() if isinstance(v, int | float)),
            f"score {number}: expected numbers below 1e300",
        )
    return report


def differences(first: Measured, second: Measured) -> list[dict[str, Any]]:
    """Second - first of each codec on each task that both have, with paired 95 % intervals, scores and retention.

    A codec at full width is compared with the same at the other model's full width.

    Raises:
        UserError: they share no task, or tasks of one name hold different data.
    """
    (a, of_a), (b, of_b) = first, second
    tasks = [name for name in a["data"]["tasks"] if name in b["data"]["tasks"]]
    for name in tasks:
        prints = [report["data"]["tasks"][name]["fingerprint"] for report in (a, b)]
        if prints[0] != prints[1]:
            raise UserError(
                f"task {name}: expected the same queries, documents and answers in both reports, got fingerprints "
                f"{prints[0]} ({a['model']}) and {prints[1]} ({b['model']}); measure both on the same data"
            )
    rows_b = {_key(row, b): row for row in b["scores"]}
    full = {
        row["task"]: row["spec"]
        for row in a["scores"]
        if row["codec"] == "float32" and row["dim"] == a["width"]
    }
    full_b = {
        row["task"]: row["spec"]
        for row in b["scores"]
        if row["codec"] == "float32" and row["dim"] == b["width"]
    }
    found = []
    for row in a["scores"]:
        other = rows_b.get(_key(row, a))
        if other is None or row["task"] not in tasks or row["task"] not in full or row["task"] not in full_b:
            continue
        one, two = of_a[f"{row['task']}|{row['spec']}"], of_b[f"{row['task']}|{other['spec']}"]
        kept_a = one / of_a[f"{row['task']}|{full[row['task']]}"].clamp_min(1e-12)
        kept_b = two / of_b[f"{row['task']}|{full_b[row['task']]}"].clamp_min(1e-12)
        found.append(
            {
                "task": row["task"], "spec": row["spec"], "other_spec": other["spec"],
                "bytes_per_vector": row["bytes_per_vector"],
                "scores": (row["score"], other["score"]),
                "difference": other["score"] - row["score"], "ci": interval(two - one),
                "retention_difference": (other["retention"] or 0) - (row["retention"] or 0),
                "retention_ci": interval(kept_b - kept_a),
            }
        )  # fmt: skip
    if not found:
        raise UserError(
            f"expected reports that share tasks and codecs, {a['model']} and {b['model']} share none"
        )
    return found


def _key(row: Mapping[str, Any], report: Mapping[str, Any]) -> tuple[str, str, int]:
    """A row's task, codec and width; 0 for the full one."""
    return row["task"], row["codec"], 0 if row["dim"] == report["width"] else row["dim"]
