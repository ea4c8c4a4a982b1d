"""A training step against sentence-transformers' own trainer: same pairs, tokenizer, weights, loss and optimiser."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings

SKIP = 3  # first readings: allocations, thread pools
STEPS = {"cpu": 1, "cuda": 10}
"""From one reading of the clock, and one report of the metrics, to the next."""
CASES = {
    "static": (TrainSettings.of(encoder="static", batch_size=512, objective="infonce:0.05"), 40, 10),
    "static_mrl": (TrainSettings.of(encoder="static", batch_size=512, objective="mrl:0.05"), 40, 10),
    "transformer": (
        TrainSettings.of(encoder="transformer", layers=6, width=384, batch_size=64, objective="infonce:0.05"), 9, 6,
    ),
    "transformer_512": (
        TrainSettings.of(encoder="transformer", layers=6, width=384, batch_size=512, objective="infonce:0.05"), 9, 4,
    ),
}  # fmt: skip
"""Settings, and how many readings count, on a CPU and on a GPU."""
NUM_PAIRS = 25_000
VARIANTS = ("ours", "ours_cached", "peer", "peer_tuned")
"""The peer as it is by default, and with processes that tokenise ahead and, like ours, without cuDNN's attention."""
NUM_WORKERS = 8


def main() -> None:
    """Print pairs/s of one variant as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--device", choices=STEPS, default="cpu")
    print(json.dumps(measure(**vars(parser.parse_args()))))


def apart(case: str, variant: str) -> dict[str, float]:
    """`measure` on the CPU, in a new process that sees no GPU."""
    command = [sys.executable, "-m", "benchmarks.trainer", case, variant]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: str, variant: str, device: str) -> dict[str, float]:
    """Pairs/s and losses of one variant."""
    settings, *readings = CASES[case]
    every = STEPS[device]
    settings = changed(
        settings, data=str(pairs_file()), warmup=0.0, checkpoint_every=10**9,
        steps=(readings[device == "cuda"] + SKIP) * every, log_every=every,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if variant.startswith("peer"):
            return peer(settings, Path(folder), device, tuned=variant == "peer_tuned")
        return ours(changed(settings, gradient_cache=variant == "ours_cached"), Path(folder))


def pairs_file() -> Path:
    """The first pairs of the installed code: descriptions of a dozen tokens, functions of up to hundreds."""
    import pyarrow.parquet as pq

    from tempembed.data.installed_code import installed_code
    from tempembed.system.cache import cache_dir

    path = cache_dir() / "benchmarks" / f"pairs_{NUM_PAIRS}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(installed_code(progress=lambda line: print(line, file=sys.stderr)).train)
        chosen = np.random.default_rng(0).permutation(len(table))[:NUM_PAIRS]
        pq.write_table(table.select(["query", "document"]).take(chosen), path)
    return path


def ours(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """`tempembed.run.loop.train`; tokens are made before, once for all runs and epochs. A report waits for the device."""
    from tempembed.stages.contrastive import train_pairs as train
    from tempembed.stages.prepare import prepare

    prepared = prepare(settings)
    times, losses = [], []

    def report(metrics: dict) -> None:
        times.append(time.perf_counter())
        losses.append(metrics["train/loss"])

    train(settings, prepared, folder, report)
    return _result(settings, times, losses)


def peer(settings: TrainSettings, folder: Path, device: str, tuned: bool) -> dict[str, float]:
    """SentenceTransformerTrainer with its defaults, on a GPU in bfloat16 as ours is; it tokenises in every step."""
    import pyarrow.parquet as pq
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from transformers import PrinterCallback, TrainerCallback, TrainerState

    from tempembed.stages.initial_encoder import initial_encoder
    from tempembed.stages.prepare import prepare

    initial_encoder(settings, prepare(settings)).save(folder / "model")
    model = SentenceTransformer(str(folder / "model"), device=device)
    term = settings.loss.resolved_terms(model.get_embedding_dimension())[0]
    loss = losses.MultipleNegativesRankingLoss(model, scale=1 / term.temperature)
    if settings.loss.objective.startswith("mrl"):
        dims = [term.dim for term in settings.loss.resolved_terms(model.get_embedding_dimension())]
        loss = losses.MatryoshkaLoss(model, loss, dims)
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, _arguments: object, state: TrainerState, *_: object, **__: object) -> None:
            if state.global_step % settings.loop.log_every == 0:
                if device == "cuda":
                    torch.cuda.synchronize()
                times.append(time.perf_counter())

    table = pq.read_table(settings.data.data[0])
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=settings.batches.batch_size, max_steps=settings.loop.steps,
        learning_rate=settings.peak_learning_rate(is_table=settings.model.encoder == "static"), optim="adamw_torch_fused", report_to="none",
        use_cpu=device == "cpu", bf16=device == "cuda", save_strategy="no",
        dataloader_num_workers=NUM_WORKERS if tuned else 0,
        logging_strategy="steps", logging_steps=settings.loop.log_every, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, loss=loss, callbacks=[Clock()],
        train_dataset=Dataset.from_dict({"anchor": table["query"], "positive": table["document"]}),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    torch.backends.cuda.enable_cudnn_sdp(not tuned)
    trainer.train()
    torch.backends.cuda.enable_cudnn_sdp(True)
    return _result(settings, times, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def _result(settings: TrainSettings, times: list[float], losses: list[float]) -> dict[str, float]:
    seconds = np.diff(times)[SKIP - 1 :]
    return {
        "pairs_per_second": settings.batches.batch_size * settings.loop.log_every / float(np.mean(seconds)),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


if __name__ == "__main__":
    main()
