"""Intrinsic dimension of 100,000 x 1024 against scikit-learn's PCA; and what its training curve costs."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROWS, WIDTH = 100_000, 1024
STEPS = 256


def main() -> None:
    """Print a measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("dimension", "streaming"))
    print(json.dumps({"dimension": dimension, "streaming": streaming}[parser.parse_args().what]()))


def apart(what: str) -> dict[str, float]:
    """A measurement in a new process."""
    command = [sys.executable, "-m", "benchmarks.geometry", what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def dimension() -> dict[str, float]:
    """Best seconds of three, in turn, and the numbers of components."""
    from sklearn.decomposition import PCA

    from tempembed.geometry.intrinsic_dimension import pca95

    rows = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    rows = rows * torch.logspace(0, -1.5, WIDTH) + 0.1
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    counts = {}
    for _ in range(3):
        began = time.perf_counter()
        counts["ours"] = pca95(rows)
        seconds["ours"].append(time.perf_counter() - began)
        began = time.perf_counter()
        share = PCA().fit(rows.numpy()).explained_variance_ratio_
        counts["peer"] = int((share.cumsum() < 0.95).sum()) + 1
        seconds["peer"].append(time.perf_counter() - began)
    return {
        **{f"{name}_components": n for name, n in counts.items()},
        **{n: min(s) for n, s in seconds.items()},
    }


def streaming() -> dict[str, float]:
    """Seconds inside the curve's code, of those of a training run of the static encoder at batch 1024."""
    from tempembed.geometry.streaming import SpectrumWatch
    from tempembed.run import watches
    from tempembed.settings.train import TrainSettings
    from tempembed.stages.contrastive import train_pairs
    from tempembed.stages.prepare import prepare

    spent, began, reports = 0.0, 0.0, []

    class Timed(SpectrumWatch):
        def observe(self, step: int, documents_BD: torch.Tensor) -> None:
            nonlocal spent, began
            if step == 16:  # the first steps warm up
                spent, began = 0.0, time.perf_counter()
            entered = time.perf_counter()
            super().observe(step, documents_BD)
            spent += time.perf_counter() - entered

    watches.SpectrumWatch = Timed
    settings = TrainSettings.of(data="installed-code", objective="tempaggmrl", batch_size=1024, steps=STEPS)
    with tempfile.TemporaryDirectory() as folder:
        train_pairs(settings, prepare(settings), Path(folder), reports.append)
        total = time.perf_counter() - began
    points = [r["train/intrinsic_dimension"] for r in reports if "train/intrinsic_dimension" in r]
    return {"spent": spent, "total": total, "points": len(points), "last": points[-1]}


if __name__ == "__main__":
    main()
