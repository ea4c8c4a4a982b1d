"""Writes the report of a reproduction, in a process of its own."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from ray_jobs.prepared import PreparedData
from tempembed.reproduction.presets import Preset


def write_report(preset: Preset, folders: Sequence[Path], prepared: PreparedData, output: Path) -> str:
    """Write report.html, and the figures with the report's tables as Markdown.

    Args:
        preset: what was run.
        folders: of the sweeps, one for each encoder.
        prepared: the data of the first.
        output: takes the report.

    Returns:
        The claims as a table.
    """
    import torch

    from tempembed.encoders.load import load_encoder
    from tempembed.reports.reproduction_page import (
        Setup,
        claims_markdown,
        figures_to,
        report_markdown,
        write_reproduction,
    )
    from tempembed.reproduction.load_results import load_results
    from tempembed.reproduction.maps import Maps, document_maps
    from tempembed.stages.prepared import Prepared

    results = load_results(folders, preset)
    test = Prepared(folder=prepared.folder).evaluation()
    assert test is not None
    corpus, _, documents = test
    first = results.of(next(iter(preset.encoders)))
    maps: Maps = {}
    if preset.study == "paper":  # figure 3
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
    """The commit of this code; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
