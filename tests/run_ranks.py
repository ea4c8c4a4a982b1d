"""What tests run on ranks; a module of its own, for each process imports it anew."""

from pathlib import Path

from tempembed.run.loop import quiet
from tempembed.stages.contrastive import train_pairs


def losses_and_norms(cases, prepared, output, shard=False) -> list[float]:
    """Loss and norm of the gradient of each step of a few runs, one after the other."""
    reports: list = []
    for number, settings in enumerate(cases):
        folder = Path(output) / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        train_pairs(settings, prepared, folder, reports.append, shard=shard)
    return [r[name] for r in reports for name in ("train/loss", "train/grad_norm")]


def runs(cases, prepared, output) -> list[float]:
    """Sharded: each from its start to its end, from a checkpoint to its end, and from its start to a checkpoint."""
    found = []
    for name, settings in cases:
        reports: list = []
        for folder in (f"{name}-sharded", f"{name}-sharded-parts"):
            (Path(output) / folder).mkdir(parents=True, exist_ok=True)
        train_pairs(settings, prepared, Path(output) / f"{name}-sharded", reports.append, shard=True)
        found += [r[key] for r in reports for key in ("train/loss", "train/grad_norm")]
        train_pairs(settings, prepared, Path(output) / f"{name}-parts", quiet, resume=True, shard=True)
        train_pairs(
            settings, prepared, Path(output) / f"{name}-sharded-parts", quiet, stop_after=2, shard=True
        )
    return found
