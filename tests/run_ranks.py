"""What tests run on ranks; a module of its own, for each process imports it anew."""

from pathlib import Path

from tempembed.stages.contrastive import train_pairs


def losses_and_norms(cases, prepared, output, **options) -> list[float]:
    """Loss and norm of the gradient of each step of a few runs, one after the other."""
    reports: list = []
    for number, settings in enumerate(cases):
        folder = Path(output) / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        train_pairs(settings, prepared, folder, reports.append, **options)
    return [r[name] for r in reports for name in ("train/loss", "train/grad_norm")]
