"""What pre-training is worth: contrastive training from models that have seen more and more text, against random weights.

python -m benchmarks.stage_one --output results/stage-one                       # the embedded corpus and the text of this machine
python -m benchmarks.stage_one --tokens 5e6 20e6 50e6 --steps 500 --seeds 0 1 2

One pre-training run, whose learning rate falls at each budget on a branch of its own. For each arm a learning rate is chosen on a
validation split, with the first seed; then every seed is scored on the test, paired with random weights. `same total` are random
weights that are trained for as long as pre-training and training took. The same command again resumes.
"""

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

import tempembed as te
from tempembed.reports.table import Table
from tempembed.run.folder import hold

RATES = (1e-4, 3e-4, 1e-3)
METRIC = "probe/ndcg_at_10"
SIZE = {"encoder": "transformer", "width": 256, "layers": 4}


def main() -> None:
    """Print the table, and keep it in the output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tokens", type=float, nargs="+", default=[5e6, 20e6, 50e6])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--text", nargs="+", default=["installed-text"])
    parser.add_argument("--data", default="installed-code")
    parser.add_argument("--hold-out", type=float, default=0.0)
    parser.add_argument("--objective", default="infonce:0.06")
    asked = parser.parse_args()
    lock = hold(asked.output, "experiment")
    shared = {
        "data": asked.data, "hold_out": asked.hold_out, "dev_hold_out": 0.02, "goal": "retrieval", "objective": asked.objective,
        "batch_size": asked.batch_size, "max_tokens": asked.max_tokens, "evaluate_every": asked.steps, "verdict": False,
    }  # fmt: skip
    arms: dict[str, dict[str, Any]] = {"random weights": SIZE}
    pretrained = pretrained_at(asked.output, sorted(map(int, asked.tokens)), asked)
    arms |= {f"{tokens / 1e6:g} M tokens": {"encoder": str(folder)} for tokens, folder in pretrained.items()}
    chosen, scores = dict[str, float](), dict[str, list[float]]()
    for name, settings in arms.items():
        folder = asked.output / name.replace(" ", "-")
        steps = {**shared, **settings, "steps": asked.steps}
        chosen[name] = best_rate(folder, steps, asked.rates, asked.seeds[0])
        scores[name] = [trained(folder, steps, chosen[name], seed)["score"] for seed in asked.seeds]
    longest = asked.output / next(reversed(arms)).replace(" ", "-")
    first = trained(longest, {**shared, "steps": asked.steps}, chosen[next(reversed(arms))], asked.seeds[0])
    more = 1 + seconds_of(next(reversed(pretrained.values()))) / first["seconds"]
    steps = {
        **shared,
        **SIZE,
        "steps": round(asked.steps * more),
        "evaluate_every": round(asked.steps * more),
    }
    same = f"random weights, same total ({more:.1f} times the steps)"
    chosen[same] = chosen["random weights"]
    scores[same] = [
        trained(asked.output / "same-total", steps, chosen[same], seed)["score"] for seed in asked.seeds
    ]
    text = table(chosen, scores).text()
    (asked.output / "table.txt").write_text(text)
    print(text)
    lock.close()


def pretrained_at(output: Path, budgets: list[int], asked: argparse.Namespace) -> dict[int, Path]:
    """The models after so many tokens; each is a branch of the run before it."""
    found: dict[int, Path] = {}
    for tokens in budgets:
        folder = output / f"pretrained-{tokens}"
        if not (folder / "trained.json").exists():
            if found and not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(found[max(found)], partial)
                partial.rename(folder)
            began = time.monotonic()
            te.pretrain(
                tuple(asked.text), tokens=tokens, text_tokens=int(1.1 * max(budgets)), width=SIZE["width"], layers=SIZE["layers"], output=folder,
                resume=folder.exists(),
            )  # fmt: skip
            print(f"{tokens / 1e6:g} M tokens: {time.monotonic() - began:.0f} s", flush=True)
        found[tokens] = folder
    return found


def seconds_of(folder: Path) -> float:
    """Of the whole run, whose branches are in its reports: tokens over the rate of the last."""
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return float(last["train/tokens_seen"] / last["train/tokens_per_second"])


def best_rate(folder: Path, settings: Mapping[str, Any], rates: list[float], seed: int) -> float:
    """By the validation split alone."""
    dev = {rate: trained(folder, settings, rate, seed)["dev"] for rate in rates}
    print(f"{folder.name}: {dev}", flush=True)
    return max(dev, key=dev.__getitem__)


def trained(folder: Path, settings: Mapping[str, Any], rate: float, seed: int) -> dict[str, float]:
    """nDCG@10 on the validation split and on the test, and seconds of the training."""
    output = folder / f"{rate:g}-{seed}"
    if not (output / "evaluation.json").exists():
        there = output.exists()
        te.train(**settings, learning_rate=rate, seed=seed, output=output, resume=there)
    run = te.load(output)
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert run.report is not None
    score = run.report.find("ndcg_at_10", "float32", run.report.width)
    assert score is not None
    return {"dev": max(line.get(METRIC, 0.0) for line in lines), "score": score.score, "seconds": lines[-1]["train/seconds"]}  # fmt: skip


def table(chosen: Mapping[str, float], scores: Mapping[str, list[float]]) -> Table:
    """Scores by arm, and the difference to random weights over seeds."""
    base = np.array(scores["random weights"])
    rows = []
    for name, own in scores.items():
        difference = np.array(own) - base
        spread = (
            t.ppf(0.975, len(own) - 1) * difference.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else np.nan
        )
        rows.append(
            (name, f"{chosen[name]:g}", " ".join(f"{score:.4f}" for score in own), f"{difference.mean():+.4f}",
             f"{difference.mean() - spread:+.4f} to {difference.mean() + spread:+.4f}" if name != "random weights" else "")
        )  # fmt: skip
    head = ("start", "rate", "nDCG@10 by seed", "against random weights", "95 %, over seeds")
    return Table(head=head, rows=tuple(rows), note="Paired by seed; Student's t over seeds.")


if __name__ == "__main__":
    main()
