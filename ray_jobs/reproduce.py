"""The paper, reproduced: its objectives and what its reviewers missed, with several seeds; its claims tested; one report.

ray job submit -- python -m ray_jobs.reproduce --preset quick --output /shared/reproduction
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ray_jobs.isolate import in_subprocess
from ray_jobs.reproduction_report import write_report
from ray_jobs.sweep import Sweep
from tempembed.reproduction.presets import PRESETS, PUBLISHED, STATIC, TRANSFORMER, settings
from tempembed.settings.flat import changed
from tempembed.settings.places import located, output_place, with_places
from tempembed.system.cache import INSTALLED_CODE, INSTALLED_GLYPHS
from tempembed.system.console import run
from tempembed.tracking.settings import TrackingSettings


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Run a preset; run the same command again to resume, or only to report.

    quick takes a quarter of an hour on 2 cores, full about an hour, a pretrained encoder as long again. Trials are sweeps of
    ray_jobs.tune, one for each encoder, in --output/static and so on, with everything that a sweep leaves in MLflow.
    """

    preset: Literal["quick", "full", "pictures", "compression", "compression-quick"] | None = None
    """Which runs; default: quick, and pictures with --data installed-glyphs or installed-glyphs/pictures. Beside the paper's, for the
    static encoder alone, what terms on signs are worth to an index of bits: compression, and the part of it that is confirmed on
    data of one's own, compression-quick; half an hour on 2 cores, and a third of one."""
    encoders: Annotated[
        tuple[Literal["static", "transformer", "pretrained"], ...], tyro.conf.arg(aliases=["--encoder"])
    ] = ()
    """The part of it that is run and reported, default: static and transformer, as far as the preset has them; the claims are
    judged on each, the figures are of the first."""
    pretrained: str = PUBLISHED
    """The model of pretrained: a local path or a hub name."""
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
    """Entry point. What drives is imported here, because each subprocess of a driver imports this file again."""
    from ray_jobs.sweep_driver import sweep_trials

    config = (tyro.conf.OmitArgPrefixes,)
    command = with_places(
        tyro.cli(Reproduce, prog="python -m ray_jobs.reproduce", description=__doc__, config=config)
    )
    of_pictures = command.data.startswith(INSTALLED_GLYPHS)
    preset = PRESETS[command.preset or ("pictures" if of_pictures else "quick")]()
    encoders = command.encoders or [name for name in (STATIC, TRANSFORMER) if name in preset.encoders]
    preset = preset.of(*encoders).with_model(located(command.pretrained))
    output = output_place("--output", command.output)
    folders, prepared = [], []
    for encoder in preset.encoders:
        sweep = Sweep(
            base=changed(
                Sweep().base, **preset.overrides(encoder), data=command.data, eval_data=command.eval_data,
                hold_out=command.hold_out,
            ),
            output=str(output / encoder), num_workers=command.num_workers, use_gpu=command.use_gpu,
            tracking=TrackingSettings(mlflow_uri=command.mlflow_uri), fresh=command.fresh, goals=preset.goals,
            register=False,  # the budgets' codecs are none of the paper's, and its models no candidates
        )  # fmt: skip
        print(f"{preset.name}, {encoder}", flush=True)
        prepared.append(sweep_trials(sweep, settings(preset.of(encoder), sweep.base)))
        folders.append(output / encoder)
    print(in_subprocess(write_report, preset, folders, prepared[0], output), flush=True)
    print(f"report: {output / 'report.html'}", flush=True)


if __name__ == "__main__":
    run(main)
