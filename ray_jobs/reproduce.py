"""The paper, reproduced: its objectives and what its reviewers missed, with several seeds; its claims tested; one report.

ray job submit -- python -m ray_jobs.reproduce --preset quick --output /shared/reproduction
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro

from ray_jobs.run import PreparedData, apart
from ray_jobs.sweep import Sweep
from ray_jobs.tune import sweep_trials
from tempembed.reproduction.presets import PRESETS, Preset, settings
from tempembed.settings.flat import changed
from tempembed.settings.places import output_place, with_places
from tempembed.system.cache import INSTALLED_CODE
from tempembed.system.console import run


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Run a preset; the same command again goes on where it ended, or only reports.

    quick takes a quarter of an hour on 2 cores, full about an hour. Trials are sweeps of ray_jobs.tune, one for each encoder,
    in --output/static and --output/transformer, with everything that a sweep leaves in MLflow.
    """

    preset: Literal["quick", "full"] = "quick"
    """Which runs."""
    encoders: tuple[Literal["static", "transformer"], ...] = ("static", "transformer")
    """The part of it that is run and reported; the claims are judged on each, the figures are of the first."""
    data: str = INSTALLED_CODE
    """Training pairs, as in ray_jobs.tune."""
    eval_data: str | None = None
    """Test pairs, as in ray_jobs.tune."""
    hold_out: float = 0.1
    """Without --eval-data: share of --data that is kept from training as the test."""
    output: str = "results/reproduction"
    """Folder for the sweeps, report.html, and figures/ with the report's tables as Markdown."""
    num_workers: int = 0
    """As in ray_jobs.tune; with 0 or 1, as many trials run at once as there are CPUs."""
    use_gpu: bool = False
    """One GPU for each worker."""
    mlflow_uri: str | None = None
    """MLflow tracking server; default: MLFLOW_TRACKING_URI, or mlflow.db in each sweep's folder."""
    fresh: bool = False
    """Throw away what an earlier reproduction left in --output."""


def main() -> None:
    """Entry point."""
    command = with_places(
        tyro.cli(
            Reproduce,
            prog="python -m ray_jobs.reproduce",
            description=__doc__,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    )
    preset, output = PRESETS[command.preset]().of(*command.encoders), output_place("--output", command.output)
    folders, prepared = [], []
    for encoder, overrides in preset.encoders.items():
        sweep = Sweep(
            base=changed(
                Sweep().base, **overrides, encoder=encoder, data=command.data, eval_data=command.eval_data,
                hold_out=command.hold_out,
            ),
            output=str(output / encoder), num_workers=command.num_workers, use_gpu=command.use_gpu,
            mlflow_uri=command.mlflow_uri, fresh=command.fresh, goals=("retrieval",),
            register=False,  # the budgets' codecs are none of the paper's, and its models no candidates
        )  # fmt: skip
        print(f"{preset.name}, {encoder}", flush=True)
        prepared.append(sweep_trials(sweep, settings(preset.of(encoder), sweep.base)))
        folders.append(output / encoder)
    print(apart(report, preset, folders, prepared[0], output), flush=True)
    print(f"report: {output / 'report.html'}", flush=True)


def report(preset: Preset, folders: Sequence[Path], prepared: PreparedData, output: Path) -> str:
    """Write report.html, report.md and its figures; returns the claims as a table."""
    import torch

    from tempembed.encoders.load import load_encoder
    from tempembed.reports.reproduction import (
        Setup,
        claims_markdown,
        figures_to,
        report_markdown,
        write_reproduction,
    )
    from tempembed.reproduction.maps import document_maps
    from tempembed.reproduction.results import load_results
    from tempembed.stages.prepare import Prepared

    results = load_results(folders, preset)
    test = Prepared(folder=prepared.folder).evaluation()
    assert test is not None
    corpus, _, documents = test
    first = results.of(next(iter(preset.encoders)))
    maps = document_maps(first, lambda folder: load_encoder(str(folder)).embed(documents), corpus.labels)
    names = ("torch", "ray", "mlflow", "sentence-transformers", "mteb")
    setup = Setup(
        data=prepared.meta, maps=maps, date=str(date.today()), commit=commit(),
        hardware=f"{os.cpu_count()} CPU cores ({torch.backends.cpu.get_cpu_capability()})",
        versions={"Python": platform.python_version()} | {name: version(name) for name in names},
    )  # fmt: skip
    write_reproduction(results, setup, output / "report.html")
    figures = figures_to(output / "figures", results, maps)
    (output / "figures" / "README.md").write_text(report_markdown(results, setup, figures))
    return claims_markdown(results)


def commit() -> str:
    """Of this code; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    run(main)
