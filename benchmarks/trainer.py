"""A training step against sentence-transformers' own trainer: same pairs, tokenizer, weights, loss and optimiser."""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from tempembed.settings import TrainSettings

SKIP = 3  # first steps: allocations, thread pools
CASES = {
    "static": (TrainSettings(encoder="static", batch_size=512, objective="infonce:0.05"), 40),
    "static_mrl": (TrainSettings(encoder="static", batch_size=512, objective="mrl:0.05"), 40),
    "transformer": (
        TrainSettings(encoder="transformer", layers=6, width=384, batch_size=64, objective="infonce:0.05"), 9,
    ),
}  # fmt: skip
NUM_PAIRS = 25_000
VARIANTS = ("ours", "ours_cached", "peer")


def main() -> None:
    """Print pairs/s of one variant as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("variant", choices=VARIANTS)
    arguments = parser.parse_args()
    settings, steps = CASES[arguments.case]
    data = pairs_file()
    settings = dataclasses.replace(settings, data=str(data), steps=steps + SKIP, log_every=1, warmup=0.0)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.variant == "peer":
            result = peer(settings, Path(folder))
        else:
            cached = arguments.variant == "ours_cached"
            result = ours(dataclasses.replace(settings, gradient_cache=cached), Path(folder))
    print(json.dumps(result))


def apart(case: str, variant: str) -> dict[str, float]:
    """One variant in a new process."""
    command = [sys.executable, "-m", "benchmarks.trainer", case, variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def pairs_file() -> Path:
    """The first pairs of the installed code: descriptions of a dozen tokens, functions of up to hundreds."""
    import pyarrow.parquet as pq

    from tempembed.data.installed_code import installed_code
    from tempembed.prepare import cache_dir

    path = cache_dir() / "benchmarks" / f"pairs_{NUM_PAIRS}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(installed_code(progress=lambda line: print(line, file=sys.stderr)).train)
        chosen = np.random.default_rng(0).permutation(len(table))[:NUM_PAIRS]
        pq.write_table(table.select(["query", "document"]).take(chosen), path)
    return path


def ours(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """`tempembed.training.train`; tokens are made before, once for all runs and epochs."""
    from tempembed.prepare import prepare
    from tempembed.training import train

    prepared = prepare(settings)
    times, losses = [], []

    def report(metrics: dict) -> None:
        times.append(time.perf_counter())
        losses.append(metrics["train/loss"])

    train(settings, prepared, folder, report)
    return _result(settings, times, losses)


def peer(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """SentenceTransformerTrainer with its defaults; it tokenises in every step."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from transformers import TrainerCallback

    from tempembed.prepare import initial_encoder, prepare

    initial_encoder(settings, prepare(settings)).save(folder / "model")
    model = SentenceTransformer(str(folder / "model"), device="cpu")
    term = settings.resolved_terms(model.get_embedding_dimension())[0]
    loss = losses.MultipleNegativesRankingLoss(model, scale=1 / term.temperature)
    if settings.objective.startswith("mrl"):
        dims = [term.dim for term in settings.resolved_terms(model.get_embedding_dimension())]
        loss = losses.MatryoshkaLoss(model, loss, dims)
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    table = pq.read_table(settings.data)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=settings.batch_size, max_steps=settings.steps,
        learning_rate=settings.resolved_learning_rate, optim="adamw_torch_fused", use_cpu=True, report_to="none",
        save_strategy="no", logging_strategy="steps", logging_steps=1, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, loss=loss, callbacks=[Clock()],
        train_dataset=Dataset.from_dict({"anchor": table["query"], "positive": table["document"]}),
    )  # fmt: skip
    trainer.train()
    return _result(settings, times, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def _result(settings: TrainSettings, times: list[float], losses: list[float]) -> dict[str, float]:
    seconds = np.diff(times)[SKIP - 1 :]
    return {
        "pairs_per_second": settings.batch_size / float(np.mean(seconds)),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


if __name__ == "__main__":
    main()
