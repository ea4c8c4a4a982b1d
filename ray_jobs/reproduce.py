"""The paper, reproduced: its objectives and what its reviewers missed, with several seeds; its claims tested; one report.

ray job submit -- python -m ray_jobs.reproduce --preset quick --output results/reproduction
"""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro

from ray_jobs.run import reproduction_report_apart
from ray_jobs.tune import Sweep, connect, sweep_trials
from tempembed.cli import run
from tempembed.reproduction.presets import PRESETS, settings
from tempembed.settings import INSTALLED_CODE


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Run a preset; the same command again goes on where it ended, or only reports.

    quick takes at most 25 minutes on 2 cores, full about an hour. Trials are sweeps of ray_jobs.tune, one for each encoder,
    in --output/static and --output/transformer, with everything that a sweep leaves in MLflow.
    """

    preset: Literal["quick", "full"] = "quick"
    """Which runs."""
    data: str = INSTALLED_CODE
    """Training pairs, as in ray_jobs.tune."""
    eval_data: str | None = None
    """Test pairs, as in ray_jobs.tune."""
    hold_out: float = 0.1
    """Without --eval-data: share of --data that is kept from training as the test."""
    output: str = "results/reproduction"
    """Folder for the sweeps, report.html, claims.md and figures/."""
    num_workers: int = 1
    """Ray Train workers of a trial; with one each, as many trials run at once as there are CPUs."""
    use_gpu: bool = False
    """One GPU for each worker."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI, or mlflow.db in each sweep's folder."""
    fresh: bool = False
    """Throw away what an earlier reproduction left in --output."""


def main() -> None:
    """Entry point."""
    command = tyro.cli(Reproduce, description=__doc__)
    preset, output = PRESETS[command.preset](), Path(command.output).absolute()
    connect()
    folders = []
    for encoder, overrides in preset.encoders.items():
        sweep = Sweep(
            **overrides, encoder=encoder, data=command.data, eval_data=command.eval_data, hold_out=command.hold_out,
            output=str(output / encoder), num_workers=command.num_workers, use_gpu=command.use_gpu,
            mlflow_uri=command.mlflow_uri, fresh=command.fresh, goals=("retrieval", "bytes-128"),
        )  # fmt: skip
        print(f"{preset.name}, {encoder}", flush=True)
        sweep_trials(sweep, settings(preset.of(encoder), sweep.base))
        folders.append(output / encoder)
    reproduction_report_apart(command.preset, folders, output, machine())
    print(f"report: {output / 'report.html'}   claims: {output / 'claims.md'}", flush=True)


def machine() -> str:
    """Hardware and versions, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "sentence-transformers"))
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {versions}, Python {platform.python_version()}"


if __name__ == "__main__":
    run(main)
