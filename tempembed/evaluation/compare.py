"""Two measured models, paired: the same queries, the same resamples."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tempembed.errors import UserError
from tempembed.evaluation.statistics import interval

Measured = tuple[dict[str, Any], Mapping[str, Tensor]]
"""A report and its replicates."""


def load_report(path: Path) -> Measured:
    """A report and its replicates.

    Raises:
        UserError: not there, or not a report.
    """
    try:
        report = json.loads(path.read_text())
        replicates = load_file(path.with_suffix(".replicates.safetensors"))
        report["scores"], report["data"]["tasks"], report["geometry"], report["model"]
    except Exception as error:  # json, safetensors and the file system have an exception each
        raise UserError(
            f"{path}: expected a report of tempembed evaluate with its .replicates.safetensors beside it, and could "
            f"not read it ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    return report, replicates


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
        if other is None or row["task"] not in tasks:
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
